"""The store's database: connection, schema check, upgrade, transactions, and errors with advice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from harness.errors import StoreError
from harness.storage.engines import BUSY_SECONDS, Mode, insert, place_of
from harness.storage.folder import keep_out, settle
from harness.storage.schema import META, SCHEMA, SCHEMA_VERSION, UPGRADABLE
from harness.storage.url import printable_url
from harness.system.failpoints import failpoint
from harness.system.sqlite import driver

_PLACE = "check that the folder exists and that you may write there, or give another --store"
_SPACE = "free some space on its disk; what was stored before is intact"
_ADVICE = {
    "not a database": "it is not a SQLite file; give another --store, or move the file away",
    "malformed": "the file is damaged; move it away and restore a copy, or give another --store",
    "no such table": "its tables are not those of a results store; give another --store, or move the file away",
    "no such column": "its tables are not those of a results store; give another --store, or move the file away",
    "locked": f"another process has been writing for {BUSY_SECONDS} seconds; wait for it, or stop it",
    "is full": _SPACE,
    "no space": _SPACE,
    "disk i/o": "check the disk; SQLite needs a local one",
    **dict.fromkeys(("unable to open", "readonly", "permission denied"), _PLACE),
    **dict.fromkeys(("no such file", "not a directory", "file exists"), _PLACE),
    "no module named": "install it with pip install 'sequencematch-harness[postgres]'",
    "authentication failed": "check user and password in --store (or ~/.pgpass)",
    "connection refused": "start the PostgreSQL server, or check host and port in --store",
    "does not exist": "create the database with createdb, or check its name in --store",
}


class Database:
    """An open database with the tables of `schema`."""

    def __init__(self, url: str, mode: Mode) -> None:
        """Open the database at `url`; mode `rwc` creates it and its folder where there are none.

        Raises:
            StoreError: no valid URL, not a store, another schema version, out of reach, or to be written in a folder
                that is another store's.
        """
        self.url = printable_url(url)
        self.place = place_of(url)
        self._mode = mode
        with self.translated_errors():
            if mode == "rwc":
                self.place.folder.mkdir(parents=True, exist_ok=True)
                keep_out(self.place)
            self._engine = self.place.engine(mode)
            self._writer = self._engine.execution_options(begin="IMMEDIATE")
            self._check_schema()
            if mode != "ro":
                settle(self.place, self._identity())

    def close(self) -> None:
        """Close the connections; the database can still be used afterwards."""
        self._engine.dispose()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Re-raise database and OS errors as `StoreError` with advice."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, driver.Error, OSError, ModuleNotFoundError) as error:
            words = str(getattr(error, "orig", None) or error).strip()
            advice = next(
                (then for sign, then in _ADVICE.items() if sign in words.lower()), "check the database and its disk"
            )
            raise StoreError(f"{self.url}: {words}; {advice}") from error

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that reads one consistent state of the store and blocks no other."""
        with self.translated_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that holds SQLite's write lock from its start, committed unless an exception leaves it."""
        if self._mode == "ro":
            raise StoreError(f"{self.url} was opened for reading only; open it without read_only to write")
        with self.translated_errors():
            with self._writer.begin() as connection:
                yield connection
                failpoint("commit.before")
            failpoint("commit.after")

    def integrity_errors(self, *, thorough: bool) -> list[str]:
        """Errors that SQLite finds in its file (none of a server); `thorough` compares indexes and references, too."""
        if self._engine.dialect.name != "sqlite":
            return []
        checks = ("integrity_check", "foreign_key_check") if thorough else ("quick_check",)
        found: list[str] = []
        with self.read() as connection:
            for check in checks:
                rows = connection.exec_driver_sql(f"PRAGMA {check}").all()
                found += [" ".join(map(str, row)) for row in rows if tuple(row) != ("ok",)]
        return found

    def alone(self, connection: sa.Connection) -> None:
        """Wait until no other transaction holds this lock; with SQLite the write lock is enough."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7236)"))

    def _check_schema(self) -> None:
        with self._engine.connect() as connection:
            tables = sa.inspect(connection).get_table_names()
        if not tables and self._mode == "rwc":
            self._create()
        elif not tables:
            raise StoreError(
                f"{self.url}: nothing is stored there yet; `harness run GRID --store {self.url}` starts it"
            )
        elif META.name not in tables:
            raise StoreError(f"{self.url} is a database of something else; give another --store")
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(META.c.value).where(META.c.key == "schema")).scalar()
        if found in UPGRADABLE and self._mode != "ro":
            self._upgrade()
        elif found != str(SCHEMA_VERSION):
            newer = found is not None and found.isdigit() and int(found) > SCHEMA_VERSION
            advice = "upgrade the harness" if newer else "read it with the version that wrote it"
            if found in UPGRADABLE:
                advice = f"`harness run GRID --store {self.url}` brings it up to date and keeps all that is in it"
            raise StoreError(
                f"{self.url} has schema version {found}, this harness reads {SCHEMA_VERSION}; {advice}, "
                "or start a new one in another folder: --store sqlite:///FOLDER/runs.db"
            )

    def _identity(self) -> str:
        """The store's id, as its folder names it (see `folder`); the first writer draws it."""
        query = sa.select(META.c.value).where(META.c.key == "store")
        with self.read() as connection:
            found = connection.execute(query).scalar()
        if found is None:
            with self.write() as connection:
                drawn = {"key": "store", "value": uuid.uuid4().hex}
                connection.execute(insert(connection, META).values(drawn).on_conflict_do_nothing())
                found = connection.execute(query).scalar_one()
        return str(found)

    def _upgrade(self) -> None:
        """Add the tables and columns that an older version lacks; stored values stay, a second upgrade is harmless."""
        with self.write() as connection:
            self.alone(connection)
            SCHEMA.create_all(connection)
            for table in SCHEMA.sorted_tables:
                known = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
                for column in (column for column in table.c if column.name not in known):
                    wanted = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {wanted}")
            connection.execute(sa.update(META).where(META.c.key == "schema").values(value=str(SCHEMA_VERSION)))

    def _create(self) -> None:
        if self._engine.dialect.name == "sqlite":
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL")  # stays with the file; impossible in a transaction
            finally:
                raw.close()
        with self.write() as connection:
            self.alone(connection)
            SCHEMA.create_all(connection)
            version = {"key": "schema", "value": str(SCHEMA_VERSION)}
            connection.execute(insert(connection, META).values(version).on_conflict_do_nothing())
