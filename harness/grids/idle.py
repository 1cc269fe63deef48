"""Parts of a grid without effect, as a slip of the pen makes them: excludes that drop no cell, values twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from harness.config.run import RunConfig
from harness.config.written import written
from harness.errors import ConfigError
from harness.grids.grid import Grid
from harness.grids.settings import Point

MOST = 8  # values that a note lists


def idle_excludes(grid: Grid) -> Iterator[str]:
    """A sentence for each entry that drops no cell, with the values that cells have instead.

    It is no error: on the command line a grid may lose the values that an entry is about, and is right without it.

    Raises:
        ConfigError: as `Grid.expand`.
    """
    if not grid.exclude:
        return
    one_seed = replace(grid, seeds=grid.seeds[:1])
    left, everything = one_seed.expand(), _cells(one_seed, ())
    for index, point in enumerate(grid.exclude):
        if everything is not None:
            alone = _cells(one_seed, (point,))
            drops = alone is None or len(alone) < len(everything)
        else:  # cells that cannot be made have to be dropped by some entry: is it this one?
            others = _cells(one_seed, (*grid.exclude[:index], *grid.exclude[index + 1 :]))
            drops = others is None or len(others) > len(left)
        if not drops:
            where = next(iter(point.values())).where
            reason = _reason(point, left if everything is None else everything)
            yield f"{where}: this entry of exclude drops no cell: {reason}; correct it, or remove it"


def doubles(grid: Grid) -> Iterator[str]:
    """A sentence for each value of an axis that stands there twice; its cells run once."""
    for axis in (*grid.axes, *grid.sweeps):
        seen: list[dict[str, object]] = []
        for point in axis:
            values: dict[str, object] = {key: setting.value for key, setting in point.items()}
            if seen.count(values) == 1:
                where = next(iter(point.values())).where
                given = ", ".join(f"{key}={setting.value}" for key, setting in point.items())
                yield f"{where}: {given} stands there twice, and runs once; correct one, or remove it"
            seen.append(values)


def _cells(grid: Grid, exclude: Sequence[Point]) -> list[RunConfig] | None:
    """The cells with these entries alone; None where one of them cannot be made, or none is left."""
    with suppress(ConfigError):
        return replace(grid, exclude=tuple(exclude)).expand()
    return None


def _reason(point: Point, cells: Sequence[RunConfig]) -> str:
    flat = [cell.flat() for cell in cells]
    for key, setting in point.items():
        known = list(dict.fromkeys(written(cell[key]) for cell in flat if key in cell))
        wanted = written(setting.value)
        if wanted not in known and setting.text not in known:
            return f"no cell has {key}={wanted}, they have {', '.join(known[:MOST]) or 'no such key'}"
    return "no cell has all of its values"
