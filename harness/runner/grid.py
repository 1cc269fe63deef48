"""`run_grid`: runs every cell of a grid that is not done; the same call again continues."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from harness.config.run import RunConfig
from harness.data.splits import load_splits
from harness.records.progress import Progress
from harness.runner.options import DEFAULT, RunnerOptions
from harness.runner.supervisor import supervise
from harness.storage.store import Store


def run_grid(
    cells: Sequence[RunConfig],
    store: Store,
    *,
    grid_name: str,
    options: RunnerOptions = DEFAULT,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, None]:
    """Run every cell that is not done, failed ones included; the same call again continues.

    Cells that another process holds are waited for, and claimed here once their lease has run out.  Stop reading, or
    let `stopping` return True, and the cells at hand are saved and released.
    """
    store.enqueue(grid_name, cells)
    store.retry([config.run_id for config in cells])
    done = store.runs(grid_name, "done").set_index("run_id")["data_hash"].to_dict()
    for position, config in enumerate(cells, start=1):
        if config.run_id in done:
            message = _changed(config, done[config.run_id])
            yield Progress(config.run_id, position, len(cells), "skipped", 1.0, message, config.label)
    yield from supervise(store, options, cells, stopping)


def _changed(config: RunConfig, data_hash: str) -> str:
    """A warning if a finished cell saw other data than its benchmark gives today; else empty."""
    now = load_splits(config.benchmark).data_hash
    same = data_hash == now
    message = f"done before, on other data ({data_hash}, now {now}); to run it again, give a --store in another folder"
    return "" if same else message
