"""Benchmarks: one file per task, with splits, prompts and, where it is known, the exact law.

Read `arithmetic` first; `language` with `laws` has the exact languages, `text` with `corpora`, `corpus_files` and
`hub` natural texts.
`grids/` holds the shipped grids, `speed/` the timings.  A benchmark imports `harness.plugins`, `harness.records`,
`harness.registry` and `harness.errors`, and never another benchmark; `speed/` may import everything.
"""
