"""Grids whose processes are killed and frozen while they run."""
