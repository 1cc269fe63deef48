"""The configuration of one run, as frozen pydantic models.

Read `run` first: `RunConfig` and its ids.  `section` is the base of its parts, and `actions`, `model`, `training`,
`sampling` and `evaluation` are one part each.  `keys` is about dotted keys, `search_space` about the values from which
`harness tune` draws.  Imports only `errors`, `hashing` and `records`; no torch.
"""
