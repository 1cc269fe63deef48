"""Time of the dashboard's pages on a store of 10,000 runs: `python -m benchmarks.speed.dashboard [GROUPS]`.

Every page is drawn twice: cold, with empty caches, and again.  Wall time depends on the machine's other load;
processor time hardly.  The browser's own work is not in it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import streamlit as st
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from dashboard.__main__ import ready
from harness.config.run import RunConfig
from harness.storage.schema import CELLS, RUNS, SCORES
from harness.storage.store import Store

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = tuple(page.stem for page in sorted(APP.parent.joinpath("app_pages").glob("*.py")))
SEEDS, GRIDS = 8, 10
METRICS = ("exact_kl", "out_of_support", "perplexity", "diversity", *(f"other_{i}" for i in range(16)))


def fill(store: Store, groups: int) -> None:
    """Write the rows that grids of so many configurations leave, all at once."""
    runs: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for group in range(groups):
        trainer = (
            {"name": "sequence_match", "alpha": group / 1000} if group % max(groups // GRIDS, 2) else {"name": "mle"}
        )
        model = {"name": "gpt2", "width": 8 * (1 + group * GRIDS // groups)}
        for seed in range(SEEDS):
            seeds = {"train": seed, "sample": seed, "metric": seed}
            given = {"benchmark": "text", "trainer": trainer, "model": model, "seeds": seeds}
            run = RunConfig.model_validate(given)
            row: dict[str, Any] = {
                "run_id": run.run_id,
                "group_id": run.group_id,
                "config": run.model_dump(mode="json"),
            }
            row |= {
                "status": "done",
                "attempts": 1,
                "created": f"2026-01-01T00:00:00.{len(runs):06d}+00:00",
                "data_hash": "d",
            }
            row |= {"step": 400, "tokens": 300_000 + group, "seconds": 5.0 + seed}
            runs.append(row | {"provenance": {"packages": {f"package {i}": "1.0" for i in range(20)}}})
            cells.append({"grid": f"grid {group * GRIDS // groups}", "run_id": run.run_id, "position": len(cells)})
            for i, metric in enumerate(METRICS):
                score: dict[str, Any] = {
                    "run_id": run.run_id,
                    "name": f"{metric}@exact",
                    "metric": metric,
                    "definition": "exact",
                }
                score |= {"parameters": {}, "value": group * (i + 1) % 97 + seed / 10, "kind": "finite", "n": 256}
                scores.append(score | {"unit": "fraction", "direction": "lower", "texts_hash": "t"})
    with store.database.write() as connection:
        for table, rows in ((RUNS, runs), (CELLS, cells), (SCORES, scores)):
            connection.execute(sa.insert(table), rows)


def timed(app: AppTest) -> tuple[float, float]:
    """Wall and processor seconds of drawing the page.

    Raises:
        RuntimeError: something on it failed.
    """
    wall, processor = time.perf_counter(), time.process_time()
    app.run()
    spent = time.perf_counter() - wall, time.process_time() - processor
    if app.exception:
        raise RuntimeError(app.exception[0].message)
    return spent


def first(grid: str) -> tuple[float, float]:
    """Time of the first page of a server: the page's imports, and all that is cached later."""
    ready()
    app = AppTest.from_file(APP, default_timeout=600)
    app.query_params["grid"] = grid
    return timed(app)


def pages(grid: str) -> Iterator[tuple[str, tuple[float, float], tuple[float, float]]]:
    """Each page, cold and again."""
    app = AppTest.from_file(APP, default_timeout=600)
    app.query_params["grid"] = grid
    timed(app)
    for page in PAGES:
        app.switch_page(f"app_pages/{page}.py")
        st.cache_data.clear()
        st.cache_resource.clear()
        yield page, timed(app), timed(app)


def main() -> None:
    """Print two tables: one grid of ten, as the dashboard opens, and all runs together.

    `--first URL GRID` prints the wall seconds of the first page over a store, and nothing else.
    """
    if sys.argv[1:2] == ["--first"]:
        os.environ["HARNESS_STORE"] = sys.argv[2]
        print(first(sys.argv[3])[0])
        return
    groups = int(sys.argv[1]) if len(sys.argv) > 1 else 1250
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_STORE"] = url = f"sqlite:///{folder}/runs.db"
        with Store(url) as store:
            fill(store, groups)
        wall, processor = first(f"grid {GRIDS - 1}")
        print(f"first page of a server: {wall:.2f} s, {processor:.2f} of processor")
        for grid in (f"grid {GRIDS - 1}", "all runs"):
            table = Table(
                "page", "cold, s", "of processor", "again, s", title=f"{groups * SEEDS:,} runs, showing {grid}"
            )
            for page, cold, again in pages(grid):
                table.add_row(page, f"{cold[0]:.2f}", f"{cold[1]:.2f}", f"{again[0]:.2f}")
            console.print(table)


if __name__ == "__main__":
    main()
