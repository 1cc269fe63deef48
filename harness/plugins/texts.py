"""The checks that every text from a file passes, whichever verb reads it: UTF-8, JSON, a string, whole characters.

`where` is the place that a message begins with, such as `stories.jsonl, line 3`; `wanted` is what should stand there.
"""

from __future__ import annotations

import json
from typing import Any

from harness.errors import ConfigError


def not_utf8(where: str, error: UnicodeDecodeError) -> ConfigError:
    """The refusal of bytes that are no text."""
    return ConfigError(f"{where} is not UTF-8 ({error.reason}); save the file as UTF-8")


def json_value(text: str, where: str, wanted: str) -> Any:
    """The value of a JSON text.

    Raises:
        ConfigError: it is none, is nested too deeply, or holds a number of too many digits; quotes the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line, reason = text.split("\n")[error.lineno - 1], error.msg
        reason += f" in its line {error.lineno}" if error.lineno > 1 else ""
    except (ValueError, RecursionError) as error:
        line, reason = text, type(error).__name__
    raise ConfigError(f"{where}: {line!r:.60} is not JSON ({reason}); wanted {wanted}")


def text_value(value: object, where: str, name: str, wanted: str) -> str | None:
    """The text of the field `name`, as it is; None where that is null.

    Raises:
        ConfigError: no string, or one with half of a surrogate pair (`"\\ud83d"` in JSON), which no tokenizer, hash or
            file takes.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f'{where}: "{name}" is {value!r:.60}, not a string; wanted {wanted}')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f'{where}: "{name}" holds half of a surrogate pair, which is no character; '
            "write both halves, or leave it out"
        ) from error
    return value
