"""A grid: one question as a product of configurations, and its expansion into runs.

    question: Does <backspace> pay, and under which objective?
    base: {benchmark: language, training: {steps: 1500, lr: 3e-3}}
    grid:                                   # a product: the first key turns slowest
      trainer: [mle, bc, {name: sequence_match, divergence: js}]
      actions.backspace: [false, true]
    zip: {model.width: [32, 64], model.layers: [1, 2]}      # lists that advance together, as one axis
    exclude: [{trainer: mle, actions.backspace: true}]      # cells of the product that match every key
    include: [{trainer: mle, training.steps: 3000}]         # more cells, each on top of base
    seeds: 3                                # 0, 1, 2; or a list
    controls: true                          # add rows to compare the others with (grids/controls.py), or false

Keys are dotted or nested, and the same on the command line (`training.lr=1e-3,3e-3`), where the last part is enough
when only one key ends in it (`lr=1e-3,3e-3`) and quotes hold a value together (`'corpus="a,b.jsonl"'`).  A field that
takes text has the text that is typed, though YAML reads a number in it (`revision: 58899e012345`).  A command-line key
takes its value away from the whole file; one value goes into base, several multiply every cell; `metrics` and the
points in `evaluation` always take the whole list.

Which options reach which plug-in: an option written beside a name (`{name: sequence_match, alpha: .1}`) belongs to that
plug-in, which must declare it, and leaves with it when another name takes its place.  An option written apart
(`trainer.alpha: [.01, .1]`, or `alpha=.1`) reaches the cells whose plug-in declares it, and at least one plug-in of
the grid must; cells that are equal after that are one cell.

A seed sets training, sampling and metric seeds alike, unless the cell sets `seeds.train` and its like itself.  Seeds
are outermost: every group gets its first seed before any gets its second.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config.evaluation import POINTS
from harness.config.run import RunConfig, SeedConfig
from harness.config.written import unquoted
from harness.errors import ConfigError, UnknownName, did_you_mean
from harness.grids import settings
from harness.grids.own_name import NAME, changes_in, own_name
from harness.grids.settings import PLUGINS, SECTIONS, Place, Point, Setting, declared
from harness.grids.yaml_file import LARGEST_INTEGER, Argument, Document, parse_scalar, read_document
from harness.plugins.options import resolve, text_options

GROUP = "sequencematch_harness.grids"
TOP_LEVEL = ("name", "question", "base", "grid", "zip", "include", "exclude", "seeds", "controls")
MAX_CELLS = 100_000
LISTS = tuple(f"evaluation.{name}" for name in ("at_metrics", *POINTS))  # one value is a list


@dataclass(frozen=True)
class Grid:
    """A question, and the cells that answer it.

    Attributes:
        question: the question that the cells answer, in one sentence; may be empty.
        axes: lists of points whose product, on top of `base`, gives cells.
        include: points that give one more cell each, on top of `base`.
        exclude: points; a cell of the product that agrees with all keys of one is dropped.
        sweeps: axes from the command line; they multiply included cells too.
        controls: True if control cells are added to those that `expand` gives.
        source: the file, for messages.
    """

    name: str
    question: str
    base: Point
    axes: tuple[tuple[Point, ...], ...]
    include: tuple[Point, ...]
    exclude: tuple[Point, ...]
    seeds: tuple[int, ...]
    source: str
    controls: bool = True
    sweeps: tuple[tuple[Point, ...], ...] = ()

    @classmethod
    def read(cls, document: Document, name: str) -> Grid:
        """The grid that a document describes; `name` is used where the document gives none.

        Raises:
            ConfigError: a key, name or shape that a grid does not have; the message begins with file, line and key.
        """
        for key in document.values:
            if key not in TOP_LEVEL:
                hint = did_you_mean(key, TOP_LEVEL)
                raise ConfigError(f"{document.locate((key,))}: a grid has no key {key!r}; {hint}")
        name, question = document.values.get("name", name), document.values.get("question", "")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConfigError(
                f"{document.locate(('name',))}: {name!r} is no name for a grid; add `name:` with lower-case letters, "
                "digits, - and _ (at most 64)"
            )
        if not isinstance(question, str):
            raise ConfigError(
                f"{document.locate(('question',))}: {question!r} is not a sentence; write the question as text"
            )
        controls = document.values.get("controls", True)
        if not isinstance(controls, bool):
            raise ConfigError(
                f"{document.locate(('controls',))}: {controls!r:.80} is no truth value; write true or false"
            )
        zipped = document.values.get("zip", {})
        axes = list(settings.axes(document, ("grid",), settings.mapping(document, ("grid",)), together=False))
        if isinstance(zipped, Mapping):
            axes += settings.axes(document, ("zip",), zipped, together=True)
        else:
            for index in range(len(settings.items(zipped, document.locate(("zip",))))):
                path = ("zip", index)
                axes += settings.axes(document, path, settings.mapping(document, path), together=True)
        return cls(
            name=name,
            question=question,
            base=settings.point(document, ("base",)),
            axes=tuple(axes),
            include=settings.points(document, "include"),
            exclude=settings.points(document, "exclude"),
            seeds=settings.seeds(document.values.get("seeds", 1), document.locate(("seeds",))),
            source=document.source,
            controls=controls,
        )

    @property
    def points(self) -> Iterator[Point]:
        """All points that set keys of a cell."""
        return itertools.chain([self.base], *self.axes, *self.sweeps, self.include)

    def keys(self) -> set[str]:
        """The keys that this grid understands, options of its own plug-ins among them."""
        known = {f"{head}.{key}" for head, part in SECTIONS.items() for key in part.model_fields} | {"metrics"}
        for head in PLUGINS:
            options = itertools.chain.from_iterable(declared(head, name) for name in self._names(head))
            known |= {f"{head}.{key}" for key in ("name", *options)}
        return known

    def _names(self, head: str) -> list[str]:
        key = f"{head}.name"
        return sorted({point[key].value for point in self.points if key in point})

    def override(self, texts: Sequence[str]) -> Grid:
        """This grid with `key=value` or `key=a,b` from the command line in place of the values in the file.

        Where that changes more than the number of seeds it has a name of its own (`own_name`).

        Raises:
            ConfigError: not `key=value`, an unknown or ambiguous key, or a key given twice.
        """
        grid, seen = self, set()
        changes: dict[str, tuple[str, bool]] = {}
        named = [f"{head}{end}=" for head in PLUGINS for end in ("", ".name")]
        # plug-in names first: they decide which options the other keys may mean
        for text in sorted(texts, key=lambda text: not text.startswith(tuple(named))):
            given, equals, value = (part.strip() for part in text.partition("="))
            if not equals or not given:
                raise ConfigError(
                    f"command line: {text!r} is not key=value; write for instance lr=1e-3 or lr=1e-3,3e-3"
                )
            key = given if given == "seeds" else settings.settable_key(given, grid.keys())
            if key in seen:
                raise ConfigError(f"command line: {key} is given twice; write {given}=a,b to sweep it")
            seen.add(key)
            before, grid = grid, grid._with(key, value, f"command line: {given}")
            if key != "seeds" and grid._content() != before._content():
                changes[key] = (value, key == "metrics" or key in LISTS)
        return replace(grid, name=own_name(self.name, changes, grid.keys()))

    def _content(self) -> list[Any]:
        """The settings of all points without their places, to tell if two grids ask for the same cells."""
        parts = ((self.base,), self.include, *self.axes, *self.sweeps)
        return [[{key: (one.value, one.text) for key, one in point.items()} for point in points] for points in parts]

    def _with(self, key: str, text: str, where: str) -> Grid:
        pieces = settings.split_list(text)
        if "" in pieces:
            raise ConfigError(f"{where}={text}: an empty value; write {key}=VALUE, or {key}=null for the default")
        try:
            parsed: list[Any] = [unquoted(piece) if key == "metrics" else parse_scalar(piece) for piece in pieces]
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if key == "seeds":
            return replace(self, seeds=settings.seeds(parsed[0] if len(parsed) == 1 else parsed, where))
        together = key == "metrics" or (key in LISTS and parsed != [None])
        values = [parsed] if together else parsed
        typed: list[dict[tuple[str | int, ...], str]]
        typed = [{(i,): piece for i, piece in enumerate(pieces)}] if together else [{(): piece} for piece in pieces]
        new = tuple(
            settings.collect(settings.settings_of(key, value, Place(Argument({}, where, {}, texts))))
            for value, texts in zip(values, typed, strict=True)
        )

        def without(points: Iterable[Point]) -> tuple[Point, ...]:
            return tuple({k: setting for k, setting in point.items() if k != key} for point in points)

        def kept(axes: Iterable[tuple[Point, ...]]) -> tuple[tuple[Point, ...], ...]:
            return tuple(axis for axis in map(without, axes) if any(axis))

        (base,) = without([self.base])
        return replace(
            self,
            base=base | new[0] if len(new) == 1 else base,
            axes=kept(self.axes),
            include=without(self.include),
            sweeps=self.sweeps if len(new) == 1 else (*self.sweeps, new),
        )

    def expand(self) -> list[RunConfig]:
        """The cells in the order in which they run, resolved, equal ones once.

        Raises:
            ConfigError: a value out of its domain, an option that nothing declares, a grid that is empty or too big.
        """
        product = math.prod(len(axis) for axis in self.axes)
        size = (product + len(self.include)) * math.prod(map(len, self.sweeps)) * len(self.seeds)
        if size > MAX_CELLS:
            raise ConfigError(f"{self.source}: {size:,} cells are more than {MAX_CELLS:,}; split the grid")
        self._check_options()
        groups = list(self._groups())
        if not groups:
            raise ConfigError(
                f"{self.source}: exclude: drops every cell; remove one of its {len(self.exclude)} entries"
            )
        cells: dict[str, RunConfig] = {}
        for seed in self.seeds:
            for config, own in groups:
                seeds = SeedConfig(**{**dict.fromkeys(SeedConfig.model_fields, seed), **own})
                cell = config.model_copy(update={"seeds": seeds})
                cells.setdefault(cell.run_id, cell)
        return list(cells.values())

    def _groups(self) -> Iterator[tuple[RunConfig, dict[str, int]]]:
        """Every cell once for all its seeds, with the seeds that it sets itself."""
        products = [(axes, self.exclude) for axes in itertools.product(*self.axes)]
        for points, exclude in (*products, *(((point,), ()) for point in self.include)):
            for sweep in itertools.product(*self.sweeps):
                cell = self._reached(self.base | settings.disjoint((*points, *sweep)))
                written = {key: setting.value for key, setting in cell.items()}
                if any(_agrees(point, written) for point in exclude):
                    continue
                config = self._config(cell)
                dump = config.model_dump()
                filled = {f"{head}.{key}": value for head in (*SECTIONS, *PLUGINS) for key, value in dump[head].items()}
                if any(_agrees(point, filled) for point in exclude):
                    continue
                own = {key: value for key, value in dump["seeds"].items() if f"seeds.{key}" in cell}
                yield config, own

    def _check_options(self) -> None:
        for head in PLUGINS:
            if not self._names(head):
                hint = did_you_mean("", PLUGINS[head])
                raise ConfigError(f"{self.source}: base: no {head} is named; add `{head}: NAME`; {hint}")
        for point in itertools.chain(self.points, self.exclude):
            for setting in filter(lambda setting: setting.is_option, point.values()):
                head, _, key = setting.key.partition(".")
                names = [setting.owner] if setting.owner else self._names(head)
                known = {option for name in names for option in declared(head, name)}
                if key not in known:
                    hint = did_you_mean(key, known)
                    raise ConfigError(f"{setting.where}: {head} {', '.join(names)} has no option {key!r}; {hint}")

    def _reached(self, cell: Point) -> Point:
        """The settings of a cell less the options that are not its plug-ins'; where these take text, as it is typed."""
        reached = dict(cell)
        for head in PLUGINS:
            if f"{head}.name" not in cell:
                raise ConfigError(f"{self.source}: base: a cell names no {head}; add `{head}: NAME` to base")
            name = cell[f"{head}.name"].value
            for setting in cell.values():
                if setting.is_option and setting.key.startswith(f"{head}."):
                    option = setting.key.removeprefix(f"{head}.")
                    if setting.owner not in (None, name) or option not in declared(head, name):
                        del reached[setting.key]
                    elif option in text_options(PLUGINS[head][name]):
                        reached[setting.key] = replace(setting, value=setting.text)
        return reached

    def _config(self, cell: Point) -> RunConfig:
        nested: dict[str, Any] = {}
        for key, setting in cell.items():
            head, _, rest = key.partition(".")
            if rest:
                nested.setdefault(head, {})[rest] = setting.value
            else:
                nested[head] = setting.value
        try:
            config = resolve(RunConfig.model_validate(nested))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            problem = first["msg"].removeprefix("Value error, ")
            given = f"={first['input']!r:.80}" if key in cell else ""
            raise ConfigError(f"{self._where(cell, key)}{given}: {problem}") from None
        except ConfigError as error:  # begins with the key
            raise ConfigError(f"{self._where(cell, str(error))}: {error}") from None
        dump = config.model_dump()
        for key, setting in cell.items():
            head, _, rest = key.partition(".")
            if isinstance(setting.value, bool) and rest and not isinstance(dump[head][rest], bool):
                raise ConfigError(
                    f"{setting.where}={str(setting.value).lower()}: is a truth value; write a number or word"
                )
        for key, value in _leaves(dump):
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{self._where(cell, key)}={value}: is not finite; write a finite number")
            if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
                raise ConfigError(
                    f"{self._where(cell, key)}={str(value)[:20]}...: is too large; the largest is {LARGEST_INTEGER}"
                )
        return config

    def _where(self, cell: Point, about: str) -> str:
        """Location of the key with which `about` begins, else of its section, else the file."""
        for key in sorted(cell, key=len, reverse=True):
            if about.startswith(key):
                return cell[key].where
        section = re.split(r"\W", about, maxsplit=1)[0]
        inside = [setting.where for key, setting in cell.items() if key.partition(".")[0] == section]
        return inside[-1] if inside else self.source


def _agrees(point: Point, values: Mapping[str, Any]) -> bool:
    def same(value: Any, setting: Setting) -> bool:
        return bool(value == setting.value or (isinstance(value, str) and value == setting.text))

    return all(key in values and same(values[key], setting) for key, setting in point.items())


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _leaves(inner, f"{key}.{part}" if key else part)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{index}]")
    else:
        yield key, value


def shipped() -> dict[str, Traversable]:
    """The grid files of every package in the entry-point group, by name."""
    found: dict[str, Traversable] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.value):
        for file in files(entry.module).iterdir():
            if file.name.endswith(".yaml"):
                found.setdefault(file.name.removesuffix(".yaml"), file)
    return dict(sorted(found.items()))


def grid_names() -> list[str]:
    """Names of the shipped grids, which `load_grid` takes without a path."""
    return list(shipped())


def load_grid(name_or_path: str, overrides: Sequence[str] = ()) -> Grid:
    """A shipped grid by its name (also `NAME@key=value,...`), or one in a YAML file, changed by `key=value` overrides.

    Raises:
        UnknownName: neither a known name nor a path.
        ConfigError: a wrong file or override; the message names file, line and key.
    """
    known = shipped()
    head, _, rest = name_or_path.partition("@")
    if head in known and rest and (changes := changes_in(rest)):
        name_or_path, overrides = head, [*changes, *overrides]
    if name_or_path in known:
        file: Path | Traversable = known[name_or_path]
    elif name_or_path.endswith((".yaml", ".yml")) or Path(name_or_path).exists() or "/" in name_or_path:
        file = Path(name_or_path)
    else:
        hint = did_you_mean(name_or_path, known)
        raise UnknownName(f"unknown grid {name_or_path!r}; {hint}; or give the path of a .yaml file")
    return Grid.read(read_document(file), Path(file.name).stem).override(overrides)


def first(cells: Sequence[RunConfig], limit: str) -> list[RunConfig]:
    """The first cells of a grid: a number of them (`12`), or a share (`0.1`, rounded up).

    Raises:
        ConfigError: neither an integer >= 1 nor a share in (0, 1].
    """
    with contextlib.suppress(ValueError):
        if limit.isdecimal() and int(limit) >= 1:
            return list(cells[: int(limit)])
        if not limit.isdecimal() and 0 < float(limit) <= 1:
            return list(cells[: math.ceil(float(limit) * len(cells))])
    raise ConfigError(f"--limit {limit}: give a number of cells such as 12, or a share of them in (0, 1] such as 0.1")
