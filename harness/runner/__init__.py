"""Computes runs: `run` is one run from configuration to scores; a supervisor has a grid computed by processes."""
