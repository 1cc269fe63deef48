"""Computes runs: one run from its configuration to its scores, and a grid by worker processes under a supervisor.

Read `run.py` first (one run), then `supervisor.py`, which claims cells in the store and has them computed.  In between,
`recorder.py` writes to the store what a process reports, `worker_process.py` is the process with its pipe, `worker.py`
runs inside it, and `messages.py` has the values that cross the pipe.  Imports from all packages but `runs` and `cli`.
Only `run.py`, `policy_source.py` and `preload.py` (from which the processes are forked) load torch when imported.
"""
