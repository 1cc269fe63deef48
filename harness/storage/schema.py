"""The tables of the results store, and how values are written in them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from harness.errors import StoreError

SCHEMA_VERSION = 5
UPGRADABLE = ("1", "2", "3", "4")  # versions that only lack tables and columns, which the first writer adds
STATUSES = ("pending", "running", "done", "failed")
OUTCOMES = ("running", "done", "failed", "crashed", "stalled", "released", "lost")


# ------------------------------------------------------------------------------------------------------ values


def kind_of(value: float) -> str:
    """Kind of a number, stored beside it because SQLite turns NaN into NULL: `finite`, `nan`, `+inf` or `-inf`."""
    if math.isnan(value):
        return "nan"
    return "finite" if math.isfinite(value) else "+inf" if value > 0 else "-inf"


def number(value: float | None, kind: str | None) -> float:
    """The float of a stored value and its kind; NaN also where there is none (`kind` None)."""
    return float(value) if value is not None else float(kind or "nan")


def _plain(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become `{"$float": "nan"}`, so that they come back exactly."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # numpy scalars
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": kind_of(value)}
    return value


def _exact(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


_DECODER = json.JSONDecoder(object_hook=_exact)  # made once: a leaderboard reads thousands of values


def from_json(text: str) -> Any:
    """The value of a stored JSON text.

    Raises:
        StoreError: the text is damaged.
    """
    try:
        return _DECODER.decode(text)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the store is damaged: {text!r:.60} is not JSON; restore it from a copy") from error


class _Text(sa.TypeDecorator[str]):
    """A column of text of any content, stored escaped."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else unescape(value)


class _Json(sa.TypeDecorator[Any]):
    """A column of values as canonical JSON."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), default=str)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else from_json(value)


# ------------------------------------------------------------------------------------------------------ tables
# results/README.md says what every column means; a test compares the two.

SCHEMA = sa.MetaData()


def _run_id(**options: Any) -> sa.Column[str]:
    return sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), nullable=False, **options)


META = sa.Table("meta", SCHEMA, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))


RUNS = sa.Table(
    "runs",
    SCHEMA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("group_id", sa.Text, nullable=False),
    sa.Column("config", _Json, nullable=False),
    sa.Column("status", sa.Text, sa.CheckConstraint(f"status IN {STATUSES}"), nullable=False),
    sa.Column("owner", _Text),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("started", sa.Text),
    sa.Column("finished", sa.Text),
    sa.Column("step", sa.Integer),
    sa.Column("tokens", sa.BigInteger),
    sa.Column("seconds", sa.Float),
    sa.Column("error", _Text),
    sa.Column("data_hash", sa.Text),
    sa.Column("provenance", _Json),
    sa.Column("lease_until", sa.Float),
)


CELLS = sa.Table(
    "grid_cells",
    SCHEMA,
    sa.Column("grid", _Text, primary_key=True),
    _run_id(primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.UniqueConstraint("grid", "position"),
)


CURVES = sa.Table(
    "curves",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("loss", sa.Float),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("lr", sa.Float, nullable=False),
    sa.Column("terms", _Json, nullable=False),
    sqlite_with_rowid=False,
)


SCORES = sa.Table(
    "scores",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("parameters", _Json, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("kind", sa.Text),
    sa.Column("reason", _Text),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("texts_hash", sa.Text, nullable=False),
)


PROFILES = sa.Table(
    "profiles",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("parameters", _Json, nullable=False),
    sa.Column("axis", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("points", _Json, nullable=False),
)


ROLLOUTS = sa.Table(
    "rollouts",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
)


CHECKPOINTS = sa.Table(
    "checkpoints",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("threads", sa.Integer, nullable=False),
)


ATTEMPTS = sa.Table(
    "attempts",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("owner", _Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("ended", sa.Text),
    sa.Column("outcome", sa.Text, sa.CheckConstraint(f"outcome IN {OUTCOMES}"), nullable=False),
    sa.Column("from_step", sa.Integer, nullable=False),
    sa.Column("error", _Text),
    sa.Column("output", _Text),
)


REPRODUCTIONS = sa.Table(
    "reproductions",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("at", sa.Text, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("details", _Json, nullable=False),
)


INTERIMS = sa.Table(
    "interims",
    SCHEMA,
    _run_id(primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("name", _Text, primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("metric", "definition", "unit", "direction")),
    sa.Column("parameters", _Json, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("kind", sa.Text),
    sa.Column("reason", _Text),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("tokens_before", sa.BigInteger),
    sa.Column("seconds_before", sa.Float),
)


TRIALS = sa.Table(
    "trials",
    SCHEMA,
    sa.Column("grid", _Text, primary_key=True),
    sa.Column("asked", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    _run_id(),
    sa.Column("drawn", _Json, nullable=False),
    sa.Column("chosen", sa.Boolean, nullable=False),
    sa.Column("group_id", sa.Text, nullable=False),
)


# Characters that UTF-8 or a database's text cannot hold, and the escape itself, which is no assigned character.
_UNSAFE = re.compile("[\x00\ud800-\udfff\ufdd0]")
_ESCAPED = re.compile("\ufdd0([0-9a-f]{4})")


def escape(text: str) -> str:
    """Text without NUL and lone surrogates; ordinary text stays as it is.  `unescape` is its inverse."""
    return _UNSAFE.sub(lambda found: f"\ufdd0{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """Inverse of `escape`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
