"""The text of a grid: one YAML file read as plain values with their line numbers.

YAML 1.2, so `1e-3` is a number and `no` is a word.  A grid never needs tags, anchors or duplicate keys: they are
refused.  Size and depth are capped before anything is built, so that a hostile file costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, MappingStartEvent, ScalarEvent

from harness.config.written import QUOTED
from harness.errors import ConfigError, kind_in_words

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
LARGEST_INTEGER = 2**63 - 1  # of a number: what seeds, databases and tensors hold

KeyPath: TypeAlias = tuple[str | int, ...]
"""Path of a value in a document: keys of mappings and indices of lists."""


@dataclass(frozen=True)
class Document:
    """A mapping as written, the file it comes from, the line of every key and list item, and the text of every scalar.

    The text is what a number cannot give back: `58899e012345` is a commit, and as a number infinite.
    """

    values: Mapping[str, Any]
    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    texts: Mapping[KeyPath, str] = field(default_factory=dict)

    def locate(self, path: KeyPath = ()) -> str:
        """`FILE:LINE: key.key[index]`, with which every message about this file begins."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        line = f":{self.lines[known]}" if known in self.lines else ""
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        return f"{self.source}{line}: {dotted}" if dotted else f"{self.source}{line}"

    def typed(self, value: Any, path: KeyPath) -> Any:
        """The value at a path with its numbers and truth values, or those in its list, as the text that is there."""
        if isinstance(value, list):
            return [self.typed(item, (*path, index)) for index, item in enumerate(value)]
        return self.texts.get(path, value) if isinstance(value, bool | int | float) else value


class Argument(Document):
    """A value of the command line: all in it is located at the key before `=`, which is its source."""

    def locate(self, path: KeyPath = ()) -> str:
        """That key."""
        return self.source


def read_document(file: Path | Traversable) -> Document:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, not a mapping, too big, too deep, or a tag, an anchor, a
            duplicate key or a value that is no number, text, list or mapping.  The message names file and line.
    """
    source = str(file)
    if file.is_dir():
        raise ConfigError(f"{source}: is a directory; give the path of a .yaml file")
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file; give the path of a .yaml file") from None
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read ({error.strerror}); give the path of a readable .yaml file"
        ) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{source}: bigger than {MAX_BYTES:,} bytes; a grid is a short file, split it")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not UTF-8 text (byte {error.start}); give a .yaml file") from None
    written, texts = _load(text, source)
    if not isinstance(written, CommentedMap):
        got = kind_in_words(written)
        raise ConfigError(f"{source}: holds {got}, but a grid is a mapping; begin with `base:`")
    lines: dict[KeyPath, int] = {}
    return Document(_plain(written, (), source, lines), source, lines, texts)


def parse_scalar(text: str) -> bool | int | float | str | None:
    r"""One command-line value: in YAML's quotes what they hold, else a number, truth value or null, or the text itself.

    Nothing but quotes has a meaning inside a text: `d/a #1.jsonl` and `a: b` are the texts that were typed.

    >>> parse_scalar("1e-3"), parse_scalar('"1e-3"'), parse_scalar("d/a #1.jsonl")
    (0.001, '1e-3', 'd/a #1.jsonl')

    Raises:
        ConfigError: open quotes, text behind quotes, or a list, mapping, tag, anchor or alias.
    """
    quoted = text[:1] in ("'", '"')
    if quoted and not QUOTED.fullmatch(text):
        raise ConfigError(f"{text!r} does not end where its quotes do; write 'KEY=\"VALUE\"', all of VALUE in quotes")
    if not quoted and text[:1] not in FLOW and re.search(r":(\s|$)", text):
        return text
    try:
        written, texts = _load(text, "command line")
        value = _plain(written, (), "command line", {})
    except ConfigError:
        wanted = "write a number, true, false, null or a word, or put it in quotes"
        raise ConfigError(f"{text!r} is not a plain value; {wanted}") from None
    if isinstance(value, dict | list):
        raise ConfigError(f"{text!r} is {kind_in_words(written)}; write plain values, or put it in a grid file")
    whole = quoted or texts.get(()) == text  # or else YAML takes a part of it for a comment, or a mark of its own
    return value if whole else text


FLOW = ("[", "{")  # they begin a list and a mapping


class _Constructor(RoundTripConstructor):
    """ruamel.yaml's own, without what YAML 1.2 does not have: dates, possible or not, and the value `=`, are text."""


for _tag in ("timestamp", "value"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda _, node: node.value)


def _load(text: str, source: str) -> tuple[Any, dict[KeyPath, str]]:
    """The value that ruamel reads, and the text of every scalar in it."""
    texts: dict[KeyPath, str] = {}
    path: list[str | int] = []  # the key or index at hand of every open collection
    try:
        at_key: list[bool | None] = []  # of every open collection: True if a key comes next; None in a list
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                raise ConfigError(f"{_line(source, event)}: aliases (*{event.anchor}) are refused; write the value out")
            if getattr(event, "anchor", None):
                raise ConfigError(f"{_line(source, event)}: anchors (&{event.anchor}) are refused; remove it")
            if getattr(event, "tag", None):
                raise ConfigError(f"{_line(source, event)}: tags ({event.tag}) are refused; remove it")
            opens, scalar = isinstance(event, CollectionStartEvent), isinstance(event, ScalarEvent)
            is_key = False
            if at_key and (opens or scalar):
                is_key = at_key[-1] is True
                if is_key and opens:
                    raise ConfigError(f"{_line(source, event)}: this key is a list or a mapping; write a word")
                if at_key[-1] is None:
                    path[-1] = int(path[-1]) + 1
                else:
                    at_key[-1] = not at_key[-1]
                    path[-1] = event.value if is_key else path[-1]
            if scalar and not is_key:
                texts[tuple(path)] = event.value
            if opens:
                at_key.append(True if isinstance(event, MappingStartEvent) else None)
                path.append(-1)
            elif isinstance(event, CollectionEndEvent):
                at_key.pop()
                path.pop()
            if len(at_key) > MAX_DEPTH:
                raise ConfigError(f"{_line(source, event)}: nested deeper than {MAX_DEPTH} levels; write it flatter")
        yaml = YAML(typ="rt")  # the round-trip loader keeps lines; like the safe one it builds no objects
        yaml.Constructor = _Constructor
        return yaml.load(text), texts
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(error.problem or error.context).split())
        if "\\t" in problem or "'\t'" in problem:
            problem += "; YAML is indented with spaces, not tabs"
        raise ConfigError(f"{source}{line}: not YAML that a grid may have: {problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: numbers with thousands of digits
        raise ConfigError(f"{source}: not YAML that a grid may have: {' '.join(str(error).split())}") from None


def _line(source: str, event: Any) -> str:
    return f"{source}:{event.start_mark.line + 1}"


def _plain(written: Any, path: KeyPath, source: str, lines: dict[KeyPath, int]) -> Any:
    """The same value in built-in types; fills `lines`."""
    here = Document({}, source, lines)
    if isinstance(written, CommentedMap | CommentedSeq):  # line of each item; the parser lacks some
        where = {key: mark[0] + 1 for key, mark in (written.lc.data or {}).items()}
    if isinstance(written, CommentedMap):
        for key in written:
            if isinstance(key, str):
                lines[(*path, str(key))] = where.get(key, lines.get(path, 1))
            else:
                raise ConfigError(f"{here.locate(path)}: the key {_bare(key)!r} is not text; put it in quotes")
        return {str(key): _plain(value, (*path, str(key)), source, lines) for key, value in written.items()}
    if isinstance(written, CommentedSeq):
        for index in range(len(written)):
            lines[(*path, index)] = where.get(index, lines.get(path, 1))
        return [_plain(value, (*path, index), source, lines) for index, value in enumerate(written)]
    value = _bare(written)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    wanted = "write a number, a word, a list or a mapping, or put it in quotes"
    raise ConfigError(f"{here.locate(path)}: {str(written)[:40]} is {kind_in_words(written)}; {wanted}")


def _bare(value: Any) -> Any:
    """One of ruamel's decorated scalars as the built-in type that it extends."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
