"""Texts from a file, one a line, as an `Evaluation` for the metrics; any program may have written them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, EnvironmentProblem
from harness.plugins.texts import json_value, not_utf8, text_value
from harness.records.data import Example
from harness.records.evaluation import Evaluation, Featurise, Pair
from harness.system.model_files import model_id

WANTED = 'one JSON object a line with "text", and optionally "prompt" and "reference": {"text": "..."}'
WANTED_PROMPT = 'one JSON object a line with "prompt"'
FIELDS = ("text", "prompt", "reference")


@dataclass(frozen=True)
class TextFile:
    """Texts of a file: `texts[i]` follows `prompts[i]` (empty without one); references exist for all or for none."""

    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    references: tuple[str, ...] | None


def read_texts(path: Path) -> TextFile:
    r"""The texts of a file: `.txt` has one a line, an empty line being an empty text; anything else is JSON lines.

    Lines end with `\n` or `\r\n`; other separators, such as U+2028, are part of a text.  Empty lines between JSON
    objects are skipped.  A reference stands on every line or on none.

    Raises:
        EnvironmentProblem: there is no such file, or it cannot be read.
        ConfigError: no text, a line that is none (with its number), or references on some lines only.
    """
    read = _plain_line if _is_plain(path) else _json_line
    found: list[tuple[str, str, str | None]] = []
    lines: list[int] = []
    for number, line in _lines(path):
        row = read(path, number, line)
        if row is None:
            continue
        if found and (row[2] is None) != (found[0][2] is None):
            has, lacks = (lines[0], number) if row[2] is None else (number, lines[0])
            raise ConfigError(
                f"{path}: line {has} has a reference and line {lacks} has none; give every text one, or put the "
                "references into a file of their own (--reference FILE)"
            )
        found.append(row)
        lines.append(number)
    if not found:
        raise ConfigError(f"{path} holds no text; wanted {'one text a line' if path.suffix == '.txt' else WANTED}")
    texts, prompts, references = zip(*found, strict=True)
    return TextFile(texts, prompts, None if references[0] is None else references)


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a file: `.txt` has one a line, an empty line being an empty prompt; anything else is JSON lines.

    Lines end as in `read_texts`; fields beside "prompt" are ignored.

    Raises:
        EnvironmentProblem: there is no such file, or it cannot be read.
        ConfigError: no prompt, or a line that is none (with its number).
    """
    if _is_plain(path):
        found = [line for _, line in _lines(path)]
    else:
        rows = ((number, _object(path, number, line, "prompt", WANTED_PROMPT)) for number, line in _lines(path))
        found = [_string(path, number, row, "prompt", WANTED_PROMPT) or "" for number, row in rows if row is not None]
    if not found:
        wanted = "one prompt a line" if _is_plain(path) else WANTED_PROMPT
        raise ConfigError(f"{path} holds no prompt; wanted {wanted}")
    return tuple(found)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end); one line at a time, however large the file."""
    number = 0
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, start=1):  # bytes: only \n ends a line
                text = content.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise not_utf8(f"{path}: line {number}", error) from error
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read: {error.strerror}; give a file of texts") from error


def _is_plain(path: Path) -> bool:
    """True for `.txt`, in capitals, too."""
    return path.suffix.lower() == ".txt"


def _plain_line(path: Path, number: int, line: str) -> tuple[str, str, str | None]:
    """(text, no prompt, no reference) of a line of a `.txt` file."""
    return line, "", None


def _json_line(path: Path, number: int, line: str) -> tuple[str, str, str | None] | None:
    """(text, prompt, reference) of a line of JSON; None for an empty line."""
    row = _object(path, number, line, "text", WANTED)
    if row is None:
        return None
    text, prompt, reference = (_string(path, number, row, name, WANTED) for name in FIELDS)
    return text or "", prompt or "", reference


def _object(path: Path, number: int, line: str, needed: str, wanted: str) -> Mapping[str, Any] | None:
    """The JSON object on a line, which has the field `needed`; None for an empty line."""
    if not line.strip():
        return None
    row = json_value(line, f"{path}: line {number}", wanted)
    if not isinstance(row, Mapping) or row.get(needed) is None:
        raise ConfigError(f'{path}: line {number}: {line!r:.60} has no "{needed}"; wanted {wanted}')
    return row


def _string(path: Path, number: int, row: Mapping[str, Any], name: str, wanted: str) -> str | None:
    """A field's text, or None where it is missing."""
    return text_value(row.get(name), f"{path}: line {number}", name, wanted)


def as_evaluation(
    file: TextFile,
    references: Sequence[str] | None = None,
    *,
    seed: int = 0,
    train: Sequence[str] = (),
    features: Featurise | None = None,
    pair: Pair | None = None,
) -> Evaluation:
    """The `Evaluation` of texts without actions, with their own references or a set of them.

    Args:
        file: the texts.
        references: human texts in place of the file's own.  As many as there are texts, they are taken line by line;
            any other number is a set in which none belongs to a text.
        seed: of the metrics' own randomness.
        train: the training texts of the texts' writer, for metrics of copying.
        features: texts -> features, for metrics that compare distributions.
        pair: pairs of texts -> the same, cut to equal numbers of a featuriser's tokens.
    """
    human = file.references if references is None else tuple(references)
    in_pairs = human is not None and len(human) == len(file.texts)
    beside = human if human is not None and in_pairs else ("",) * len(file.texts)
    prompts = (Example(text, prompt) for text, prompt in zip(beside, file.prompts, strict=True))
    return Evaluation(
        prompts=tuple(prompts),
        rollouts=(),
        backspace_id=None,
        metric_seed=seed,
        train=tuple(train),
        features=features,
        featuriser_id=model_id,
        paired=pair,
        written=file.texts,
        unpaired=None if in_pairs else tuple(human or ()),
    )
