"""The shelf of metrics: one file per family; each metric is found through its entry point.

Read `length.py` first, a whole metric on one page.  A metric is a frozen dataclass that `harness.plugins.metric`
describes; it takes an `Evaluation` and gives scores or the reason why there is none.  `law.py` is shared by the metrics
on known languages, `units.py` by those that count words or characters.

It may import the rows of `LAYERS` before its own, but not storage; it needs plugins and records alone.  No metric
imports another one, and importing them loads no torch.
"""
