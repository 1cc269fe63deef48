"""The store that ships with the dashboard: small, whole, of this version, and nothing is written where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stores import APP, PAGES, shown, turn_to, words

from harness.report.leaderboard import leaderboard
from harness.storage.rollout_files import backspace_of
from harness.storage.store import Store
from harness.system.sqlite import driver

__all__ = ["shown"]

SAMPLE = APP.parent / "sample"
MOST = 2_000_000  # bytes of the database with its rollouts
PICTURE = 200_000  # bytes of a picture


def files() -> dict[str, tuple[int, int]]:
    """Size and time of everything in the folder."""
    found = sorted(SAMPLE.rglob("*"))
    return {str(path.relative_to(SAMPLE)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def of_sample(_: Path) -> str:
    return f"sqlite:///{SAMPLE / 'runs.db'}"


def test_it_is_small_and_ships() -> None:
    sizes = {name: size for name, (size, _) in files().items() if (SAMPLE / name).is_file()}
    assert sum(size for name, size in sizes.items() if name.endswith((".db", ".parquet"))) < MOST
    pictures = [size for name, size in sizes.items() if name.endswith(".png")]
    assert len(pictures) == 3
    assert max(pictures) < PICTURE
    shipped = (APP.parents[1] / "pyproject.toml").read_text()
    assert '"sample/*.db", "sample/*.md", "sample/rollouts/*.parquet"' in shipped


def test_it_is_whole() -> None:
    """Every cell is done and its rollouts are those that the store names; some delete something."""
    with Store.open(of_sample(SAMPLE), read_only=True) as store:
        runs = store.runs()
        assert set(runs["status"]) == {"done"}
        found = {run_id: store.rollouts(run_id) for run_id in runs["run_id"]}
        assert all(map(len, found.values()))
        assert all(not store.curves(run_id).empty for run_id in runs[runs["step"] > 0]["run_id"])
        assert len(leaderboard(store, grid="demo").tables) == 2
    assert any(backspace_of(rollouts) is not None for rollouts in found.values())


def test_it_is_read_where_nothing_may_be_written(shown: Any) -> None:
    """A database in WAL mode would leave two files beside it, or not open at all."""
    connection = driver.connect(SAMPLE / "runs.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    before = files()
    app = shown(of_sample)
    for page in PAGES:
        turn_to(app, page)
    assert files() == before


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("overview", "language"),
        ("replay", "It takes"),
        ("exact_lab", "KL"),
        ("cost", "no group has a better mean for less"),
        ("ablations", "Mean"),
    ],
)
def test_it_shows_something(shown: Any, page: str, text: str) -> None:
    assert text in words(turn_to(shown(of_sample), page))
