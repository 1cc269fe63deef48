"""Finished runs used again: load a policy, score stored rollouts again, train again and compare.

Read `load.py` first (`harness.load_policy`), then `rescore.py` and `reproduce.py`; `fingerprint.py` hashes what a
run's configuration decides.  Imports from everything but `cli`; `fingerprint.py` and `reproduce.py` load no torch.
"""
