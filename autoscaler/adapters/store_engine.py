"""How the store's database is opened: addresses, SQLite's settings, migrations, and what to do with a damaged file.

SQLite runs with a write-ahead log, so that readers never wait for the writer, and every write transaction begins
IMMEDIATE, so that two writers queue up instead of failing halfway. A reader opens the file read-only: it cannot
create, migrate or repair anything by accident.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from autoscaler.adapters.store_faults import Fault, StoreError, translated

BUSY_TIMEOUT_S = 5.0
LOG_BYTES = 16 * 2**20
# A server that is gone without a word is noticed within about ten seconds; what the URL says goes before.
_LIBPQ_DRIVERS = frozenset({"psycopg", "psycopg2"})
_SERVER_PATIENCE = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
    # A lock is waited for as long as a locked SQLite file is, and no statement takes for ever.
    "options": "-c lock_timeout=5s -c statement_timeout=30s",
}
DIALECTS = ("sqlite", "postgresql")
MIGRATIONS = Path(__file__).parent / "migrations"
# Names the migration lock of PostgreSQL; any fixed number of our own will do.
_ADVISORY_LOCK = 7_203_115
_WRITES = "store_writes"
_SQLITE_HEADER = b"SQLite format 3\0"


def address(url: str) -> URL:
    """Return the database's URL; a text without ``://`` is a path of an SQLite file.

    Raises:
        StoreError: it is neither.
    """
    if "://" not in url:
        return URL.create("sqlite", database=url)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(Fault.BAD_URL, f"store {url!r} is no path and no URL, e.g. sqlite:///autoscaler.db") from error
    if parsed.get_backend_name() not in DIALECTS:
        raise StoreError(Fault.BAD_URL, f"store {parsed.render_as_string()} must be sqlite or postgresql")
    return parsed


def file_of(url: URL) -> Path | None:
    """Return the path of an SQLite file, None for a database in memory or on a server."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def place_of(url: URL) -> str:
    """Return how messages name the database: the path, or the URL without its password."""
    path = file_of(url)
    return str(path) if path else url.render_as_string(hide_password=True)


def writing_engine(url: URL) -> Engine:
    """Return an engine whose transactions write; the database is not touched yet."""
    path = file_of(url)
    if path is not None:
        _check_place(path)
    return _engine(url, None).execution_options(**{_WRITES: True})


def reading_engine(url: URL) -> Engine:
    """Return an engine that cannot write.

    Raises:
        StoreError: the SQLite file does not exist.
    """
    path = file_of(url)
    if path is None:
        return _engine(url, None)
    if not _reached(path, Path.is_file):
        state = "is no file" if path.exists() else "does not exist"
        raise StoreError(
            Fault.MISSING,
            f"store {path} {state}; name the controller's store with --store or INFERENCE_AUTOSCALER_STORE",
        )
    return _engine(url, lambda: _connect_read_only(path))


def migrate(connection: Connection, place: str) -> None:
    """Bring the tables to this version; the caller's transaction keeps other openers out meanwhile.

    Raises:
        StoreError: the database belongs to something else or to a later version.
    """
    if connection.dialect.name == "postgresql":
        # Tables may be large, and another controller may be at it.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    script = _config().attributes["script"]
    current = _revision(connection, place, script)
    if current == script.get_current_head():
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check_version(connection: Connection, place: str) -> None:
    """Raise a StoreError unless the tables are exactly of this version."""
    script = _config().attributes["script"]
    if _revision(connection, place, script) != script.get_current_head():
        raise StoreError(
            Fault.SCHEMA,
            f"store {place} was written by an earlier version; start this version's controller on it once",
        )


def check_integrity(connection: Connection, place: str) -> None:
    """Raise a StoreError if SQLite finds damaged pages."""
    if connection.dialect.name != "sqlite":
        return
    verdict = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if verdict != "ok":
        raise StoreError(Fault.CORRUPT, f"store {place} is damaged ({verdict}); restore a copy, or move it away")


def begins_as_sqlite(url: str) -> bool:
    """Return whether a store's file begins as every SQLite database does."""
    path = file_of(address(url))
    if path is None:
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
    except OSError:
        return False


def quarantine(url: str, at: float) -> str:
    """Move a damaged SQLite file and its logs out of the way and return one loud sentence about it.

    For the controller only, which must go on: a command that reads never moves anything.

    Raises:
        StoreError: the file cannot be moved.
    """
    path = file_of(address(url))
    if path is None:
        raise StoreError(Fault.CORRUPT, f"store {url} is damaged and is no file that could be moved away; restore it")
    kept = path.with_name(f"{path.name}.corrupt-{round(at)}")
    try:
        path.rename(kept)
        for suffix in ("-wal", "-shm"):
            log = path.with_name(path.name + suffix)
            if log.exists():
                log.rename(kept.with_name(kept.name + suffix))
    except OSError as error:
        raise StoreError(
            Fault.UNWRITABLE, f"store {path} is damaged and cannot be moved away ({error.strerror}); move it by hand"
        ) from error
    return f"STORE DAMAGED: {path} was kept as {kept}; a new one is begun, history before now is only in the old file"


def _check_place(path: Path) -> None:
    if not _reached(path.parent, Path.is_dir):
        raise StoreError(
            Fault.MISSING, f"store {path} cannot be made: directory {path.parent} does not exist; make it first"
        )
    if _reached(path, Path.is_dir):
        raise StoreError(Fault.BAD_URL, f"store {path} is a directory; name a file in it, e.g. {path}/autoscaler.db")


def _reached(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except PermissionError as error:
        raise StoreError(
            Fault.UNWRITABLE, f"store {path} cannot be reached; check the rights of the directories above it"
        ) from error


def _engine(url: URL, creator: Callable[[], sqlite3.Connection] | None) -> Engine:
    options: dict[str, Any] = {"creator": creator} if creator else {}
    if url.get_backend_name() == "postgresql" and url.get_driver_name() in _LIBPQ_DRIVERS:
        options["connect_args"] = {name: value for name, value in _SERVER_PATIENCE.items() if name not in url.query}
    if url.get_backend_name() == "sqlite":
        options.setdefault("connect_args", {"timeout": BUSY_TIMEOUT_S} if creator is None else {})
    try:
        engine = create_engine(url, **options)
    except (ImportError, NoSuchModuleError) as error:
        driver = getattr(error, "name", None) or url.get_driver_name()
        raise StoreError(
            Fault.BAD_URL, f"store {place_of(url)} needs the Python driver {driver}, which is not installed"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _connected)
        event.listen(engine, "begin", _begun)
    return engine


def _connected(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it does so late, and not before DDL.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=NORMAL")
    # The log is shortened again after a large transaction: it takes its part of the volume too.
    connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")


def _begun(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def use_write_ahead_log(engine: Engine, place: str) -> None:
    """Switch an SQLite file to its write-ahead log; it stays so, and other databases have their own."""
    if engine.dialect.name != "sqlite":
        return
    with translated(place):
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            (vacuum,) = cursor.execute("PRAGMA auto_vacuum").fetchone()
            if not vacuum:
                # Of a new file alone: one that has tables would have to be written anew as a whole, and stays as it is.
                cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
            (mode,) = cursor.execute("PRAGMA journal_mode").fetchone()
            if mode not in {"wal", "memory"}:
                cursor.execute("PRAGMA journal_mode=WAL")
        finally:
            raw.close()


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, without a log if its directory may not be written and no writer has left one there.

    SQLite needs the log's index file even to read; where it cannot make one, the file is opened as immutable.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError as error:
        connection.close()
        no_log = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
        if not no_log or path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(uri + "&immutable=1", uri=True, check_same_thread=False)
    return connection


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["script"] = ScriptDirectory.from_config(config)
    return config


def _revision(connection: Connection, place: str, script: ScriptDirectory) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and inspect(connection).get_table_names():
        raise StoreError(Fault.SCHEMA, f"store {place} is a database of something else; name another one")
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            Fault.SCHEMA, f"store {place} was written by a later version (schema {current}); upgrade this program"
        )
    return current
