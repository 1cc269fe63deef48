"""The results store: one database, with the files of its runs beside it.  Read `store` first.

`store` writes results, on top of `queue` (claims), on top of `reader` (all reading); `queries` are bulk reads for
leaderboards; `removal` removes grids and runs, archives and restores them. Below them: `schema` (tables), `database`
(connection, transactions, upgrade), `engines` (SQLite and PostgreSQL), `url`, `folder` (one store per folder), `rows`
(values as rows), `rollout_files` (rollouts as Parquet).

The contract of the queue:

- A run is pending, running, done or failed.  A running one has one owner, the process that claimed it: its claim is one
  *attempt*, with a number that only grows and that ends the owner's name.
- A claim holds for a *lease*, by the database's clock; every write of the owner renews it, and so does `heartbeat`.
- A run is free again when its lease is over, its process on the same host has ended, or the owner released it.  The
  next attempt resumes from the newest registered checkpoint.
- Every write of an attempt passes the *fence*: the row of the run must name this owner, in the same transaction.  Else
  it raises `LostClaim` and changes nothing.  So results are stored by one attempt, all or none.
- Any number of processes may use one store: SQLite on one host and a local disk, PostgreSQL on several hosts.  Threads
  may share a `Store`: each call takes a connection of its own.  A `Store` must not cross a fork.

It imports `records`, `config`, `system`, `errors`; the only package with sqlalchemy; no torch.
"""
