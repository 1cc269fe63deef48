"""One file per metric family; each metric is found through its entry point."""
