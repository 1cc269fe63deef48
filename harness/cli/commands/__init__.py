"""The commands, one file for each kind; each command calls one function and prints its result.

Read `grids` first: demo, plan, run, status.  Modules here never import each other: what two commands need is in `cli/`.
Heavy packages are imported inside the functions, so that `harness --help` loads none.
"""
