"""One point of a grid: its settings, each a value for a dotted key and the location where it is written.

They are made from the nested values of a document.  Every error names file, line and key, the value that was given and
the values that are accepted.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from harness.config.keys import matching_keys
from harness.config.run import RunConfig
from harness.config.section import Plugin
from harness.config.written import split_list as split_list
from harness.config.written import takes_text
from harness.errors import ConfigError, did_you_mean
from harness.grids.yaml_file import LARGEST_INTEGER, Document, KeyPath
from harness.plugins.metric_names import known_metrics, metric_of, parse_metric
from harness.plugins.options import build, options, text_options
from harness.registry import BENCHMARKS, METRICS, TRAINERS, Registry

PLUGINS: dict[str, Registry[Any]] = {"benchmark": BENCHMARKS, "trainer": TRAINERS}
SECTIONS: dict[str, Any] = {
    key: field.annotation
    for key, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and field.annotation is not Plugin
}
MAX_SEEDS = 10_000


@dataclass(frozen=True)
class Setting:
    """One value for one dotted key.

    Attributes:
        owner: the plug-in name beside which the value is written, if any.
        where: location for messages, as `FILE:LINE: key`.
        text: of an option, the value with its numbers as they are typed, for a plug-in that takes text.
    """

    key: str
    value: Any
    owner: str | None
    where: str
    text: Any = None

    @property
    def is_option(self) -> bool:
        """True if the key is an option of a plug-in, which only some plug-ins declare."""
        head, _, rest = self.key.partition(".")
        return head in PLUGINS and rest != "name"


Point: TypeAlias = dict[str, Setting]
"""Settings of some keys of a configuration, by key."""


@dataclass(frozen=True)
class Place:
    """The place of a value in a document: its location for messages, and its text as it is typed there."""

    document: Document
    path: KeyPath = ()

    def below(self, *path: str | int) -> Place:
        """The place of a part of the value."""
        return Place(self.document, (*self.path, *path))

    @property
    def where(self) -> str:
        """`FILE:LINE: key`."""
        return self.document.locate(self.path)

    def typed(self, value: Any) -> Any:
        """The value with each number and truth value in it as the text that is typed there."""
        return self.document.typed(value, self.path)


def point(document: Document, path: KeyPath, written: Mapping[str, Any] | None = None) -> Point:
    """The settings of a nested or dotted mapping at a path of a document (`written` saves the look-up).

    Raises:
        ConfigError: not a mapping, an unknown key or plug-in, or a key that is set twice.
    """
    written = mapping(document, path) if written is None else written
    return collect(
        setting for key, value in written.items() for setting in settings_of(key, value, Place(document, (*path, key)))
    )


def points(document: Document, key: str) -> tuple[Point, ...]:
    """The points of a list of mappings, as `include` and `exclude` are."""
    found = []
    for index, item in enumerate(items(document.values.get(key, []), document.locate((key,)))):
        if not isinstance(item, Mapping) or not item:
            wanted = "write {key: value, ...}"
            raise ConfigError(f"{document.locate((key, index))}: {item!r:.80} is not a mapping of keys; {wanted}")
        found.append(point(document, (key, index), item))
    return tuple(found)


def axes(document: Document, path: KeyPath, written: Mapping[str, Any], together: bool) -> Iterator[tuple[Point, ...]]:
    """The axes of a mapping of lists: one for each key, or one for all whose lists advance `together`.

    Raises:
        ConfigError: a value that is no list, an empty list, or lists of different lengths that advance together.
    """
    columns = []
    for key, values in written.items():
        where = document.locate((*path, key))
        if not items(values, where):
            raise ConfigError(f"{where}: an empty list; give at least one value, or remove the key")
        place = Place(document, (*path, key))
        columns.append([collect(settings_of(key, value, place.below(index))) for index, value in enumerate(values)])
    if not together:
        yield from (tuple(column) for column in columns)
    elif columns:
        lengths = {key: len(column) for key, column in zip(written, columns, strict=True)}
        if len(set(lengths.values())) > 1:
            lengths_text = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise ConfigError(
                f"{document.locate(path)}: {lengths_text} values; lists under zip advance together: make them equal"
            )
        yield tuple(disjoint(row) for row in zip(*columns, strict=True))


def settings_of(key: str, value: Any, place: Place, owner: str | None = None) -> Iterator[Setting]:
    """The settings for which `key: value` stands; the value may be a mapping of further keys.

    Raises:
        ConfigError: an unknown key or plug-in name, or a value of the wrong shape.
    """
    head, _, rest = key.partition(".")
    if key == "metrics":
        yield Setting(key, tuple(_metrics(value, place)), None, place.where)
    elif head in PLUGINS:
        if rest == "name":
            if not isinstance(value, str) or value not in PLUGINS[head]:
                hint = did_you_mean(value if isinstance(value, str) else "", PLUGINS[head])
                raise ConfigError(f"{place.where}: unknown {head} {value!r:.80}; {hint}")
            yield Setting(key, value, None, place.where)
        elif rest:
            yield Setting(key, value, owner, place.where, place.typed(value))
        elif isinstance(value, str):
            yield from settings_of(f"{head}.name", value, place)
        elif isinstance(value, Mapping):
            owner = value.get("name") if isinstance(value.get("name"), str) else None
            for part, inner in value.items():
                yield from settings_of(f"{head}.{part}", inner, place.below(part), owner)
        else:
            raise ConfigError(
                f"{place.where}: {value!r:.80} is no {head}; write a name, or {{name: NAME, option: value}}"
            )
    elif head in SECTIONS:
        fields = SECTIONS[head].model_fields
        if not rest:
            if not isinstance(value, Mapping):
                wanted = f"write a mapping with keys of {', '.join(fields)}"
                if head == "seeds":
                    wanted += "; the number of seeds is `seeds:` at the top of the file"
                raise ConfigError(f"{place.where}: {value!r:.80} is not a section; {wanted}")
            for part, inner in value.items():
                yield from settings_of(f"{head}.{part}", inner, place.below(part))
        elif rest not in fields:
            raise ConfigError(f"{place.where}: {head} has no key {rest!r}; {did_you_mean(rest, fields)}")
        else:
            text = takes_text(fields[rest].annotation)
            yield Setting(key, place.typed(value) if text else value, None, place.where)
    else:
        dotted = [f"{name}.{field}" for name, part in SECTIONS.items() for field in part.model_fields]
        same = [known for known in dotted if known.endswith(f".{key}")]
        heads = [*PLUGINS, *SECTIONS, "metrics"]
        hint = f"did you mean {same[0]!r}?" if same else did_you_mean(head, heads)
        raise ConfigError(f"{place.where}: unknown key {key!r}; {hint}")


def collect(settings: Iterable[Setting]) -> Point:
    """Settings by key; two for one key, as `trainer.alpha` beside `trainer: {alpha: ...}`, are a ConfigError."""
    found: Point = {}
    for setting in settings:
        if setting.key in found:
            other = found[setting.key].where
            raise ConfigError(f"{setting.where}: {setting.key} is set here and at {other}; keep one of them")
        found[setting.key] = setting
    return found


def disjoint(parts: Iterable[Point]) -> Point:
    """One point of several, no two of which may set the same key."""
    return collect(setting for part in parts for setting in part.values())


@cache
def declared(head: str, name: str) -> tuple[str, ...]:
    """Names of the options of a benchmark or trainer, which is imported for them."""
    return tuple(option.name for option in options(PLUGINS[head][name]))


def settable_key(given: str, known: Iterable[str]) -> str:
    """The dotted key of a grid that the command line names, in full or by an unambiguous short form.

    `seeds.*` has no short form: `metric=mauve` would silently mean a seed.  Nor has `model.name`: `model` is a section,
    here as in a file.

    Raises:
        ConfigError: no key ends in it, or more than one.

    >>> settable_key("lr", ["training.lr", "training.rows"])
    'training.lr'
    """
    keys = sorted(known)
    if given in PLUGINS:
        return f"{given}.name"
    if given in keys:
        return given
    short = [key for key in keys if not key.startswith("seeds.")]
    meant = [key for key in matching_keys(given, short) if key != f"{given}.name"]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ConfigError(f"command line: {given!r} may mean {' or '.join(meant)}; write one of them in full")
    last = [key.rpartition(".")[2] for key in short]
    pool = keys if "." in given else [*last, "metrics", "seeds", *PLUGINS]
    raise ConfigError(f"command line: unknown key {given!r}; {did_you_mean(given, set(pool))}")


def seeds(value: Any, where: str) -> tuple[int, ...]:
    """`3` as (0, 1, 2), or a list of seeds as it stands."""

    def whole(number: Any) -> bool:
        return isinstance(number, int) and not isinstance(number, bool)

    wanted = f"give a number of seeds from 1 to {MAX_SEEDS} (n gives 0 to n-1), or a list of different seeds >= 0"
    if whole(value) and 1 <= value <= MAX_SEEDS:
        return tuple(range(value))
    if isinstance(value, list) and value and all(map(whole, value)):
        twice = [str(seed) for seed, count in Counter(value).items() if count > 1]
        if twice:
            given = f"seeds={value!r:.80} names {' and '.join(twice[:5])} twice"
            raise ConfigError(f"{where}: {given}; give a list of different seeds")
        if max(value) > LARGEST_INTEGER:
            wanted += f"; the largest seed is {LARGEST_INTEGER}"
        elif min(value) >= 0:
            return tuple(value)
    raise ConfigError(f"{where}: seeds={value!r:.80} names no seeds; {wanted}")


def mapping(document: Document, path: KeyPath) -> Mapping[str, Any]:
    """The mapping at a path, empty where there is none."""
    value: Any = document.values
    for part in path:
        value = value.get(part, {}) if isinstance(value, Mapping) else value[part]
    if not isinstance(value, Mapping):
        raise ConfigError(f"{document.locate(path)}: {value!r:.80} is not a mapping; write keys and values under it")
    return value


def items(value: Any, where: str) -> list[Any]:
    """The value if it is a list; anything else is a ConfigError."""
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {value!r:.80} is not a list; write [a, b], or put one value under base")
    return value


def _metrics(value: Any, place: Place) -> Iterator[Plugin]:
    if not isinstance(value, list):
        raise ConfigError(f"{place.where}: {value!r:.80} is not a list of metrics; write [mauve, diversity@simctg]")
    chosen: list[tuple[str, Plugin]] = []  # two measures of one metric are one computation; a name twice is a mistake
    for index, given in enumerate(value):
        at = place.below(index)
        if isinstance(given, str):
            plugin = parse_metric(given)
        elif isinstance(given, Mapping) and isinstance(given.get("name"), str):
            name = metric_of(given["name"])
            text = text_options(METRICS[name]) if name in METRICS else ()
            own = {
                key: at.below(key).typed(item) if key in text else item for key, item in given.items() if key != "name"
            }
            plugin = Plugin(name=name, options=own)
        else:
            raise ConfigError(f"{at.where}: {given!r:.80} is no metric; write a name, or {{name: NAME, option: value}}")
        if plugin.name not in METRICS:
            hint = did_you_mean(plugin.name, known_metrics())
            raise ConfigError(f"{at.where}: unknown metric {plugin.name!r}; {hint}")
        name = given.partition("@")[0] if isinstance(given, str) else given["name"]
        filled = _filled(plugin)
        if (name, filled) in chosen or all(other != filled for _, other in chosen):
            yield plugin
        chosen.append((name, filled))


def _filled(metric: Plugin) -> Plugin:
    """A metric with all its options, or as it is where one of them is wrong, which its cell says better."""
    try:
        return Plugin(name=metric.name, options=dataclasses.asdict(build(METRICS, metric, metric.name)))
    except ConfigError:
        return metric
