"""The machine below the harness: atomic files, processes, devices, provenance.

`files` (atomic writes, full disks), `processes` (owners of claims), `provenance` (where a number comes from), `device`,
`sqlite` (which library), `printable` (text safe to print), `failpoints` (for tests).  No file needs another to be read
first.  It imports `errors` only.
"""
