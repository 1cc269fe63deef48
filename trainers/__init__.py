"""Trainers: one file per training objective, and the divergences of SequenceMatch.

Read `mle` first, the shortest; `divergences` and `sequence_match` are the paper's.  A file imports `harness.plugins`,
`harness.actions.batch`, `harness.config.search_space`, `harness.registry` and `harness.errors`, and never another
trainer.
"""
