"""The machine below the harness: atomic files, full disks, processes, devices, provenance.

`files` (atomic and durable writes), `disk_full` (one error for it), `model_files` (the content of a model directory),
`processes` (owners of claims), `provenance` (where a number comes from), `device`, `sqlite` (which library),
`printable` (text safe to print), `failpoints` (for tests).
No file needs another to be read first.  It imports `errors` only.
"""
