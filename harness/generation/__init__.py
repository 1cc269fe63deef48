"""Sampling from a policy: decoders, batched sampling with backtracking, best-of-n.

Read `generate.py` first (one rollout for each prompt), then `rollouts.py` (the batched sampler).  `probe.py` holds what
the sampler and the packed pass compute against plain forward passes, before an architecture is used.
May import models and what models may import; never storage.
"""
