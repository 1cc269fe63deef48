"""Makes the store that ships with the dashboard: a smaller copy of one that a real run left."""

from __future__ import annotations

import hashlib
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

from harness.system.sqlite import driver

ROLLOUTS = 20  # the first ones of each run are kept; its scores stay those of all
STEPS = 3  # one logged step of so many is kept, and the last one

THINNED = """
DELETE FROM curves WHERE (run_id, step) IN (
    SELECT run_id, step FROM (
        SELECT run_id, step, row_number() OVER (PARTITION BY run_id ORDER BY step) AS place,
               max(step) OVER (PARTITION BY run_id) AS last FROM curves)
    WHERE place % ? <> 1 AND step < last)
"""


def make(source: Path, target: Path) -> None:
    """Copy `source`, a `runs.db` with its `rollouts/`, into the folder `target`, where no store is yet."""
    database = target / "runs.db"
    (target / "rollouts").mkdir(parents=True)
    with closing(driver.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", [str(database)])
    with closing(driver.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # a reader of a WAL file makes files beside it
        connection.execute(THINNED, [STEPS])
        for run_id, path in connection.execute("SELECT run_id, path FROM rollouts").fetchall():
            kept = pq.read_table(source.parent / path).slice(0, ROLLOUTS)
            pq.write_table(kept, target / path, compression="zstd", compression_level=19, write_statistics=False)
            digest = hashlib.sha256((target / path).read_bytes()).hexdigest()
            connection.execute(
                "UPDATE rollouts SET n = ?, sha256 = ? WHERE run_id = ?", [kept.num_rows, digest, run_id]
            )
        connection.execute("VACUUM")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
