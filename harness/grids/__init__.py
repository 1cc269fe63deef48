"""Grids of runs: read from YAML, expanded into cells, checked, planned, tuned.

Read `grid` first: its docstring is the format.  A definition passes through three files: `yaml_file` (the text, with
line numbers), `settings` (one point) and `grid` (the whole, and its expansion).  `check` says whether cells can run,
`controls` adds the rows to compare them with, `plan` estimates time, `tuning` is `harness tune`, `untrained` is
`harness evaluate`.  Imports packages up to `data`; `tuning` reads the store, and `untrained` loads torch for a model.
"""
