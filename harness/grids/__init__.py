"""Grids of runs: read from YAML, expanded, checked, planned, tuned."""
