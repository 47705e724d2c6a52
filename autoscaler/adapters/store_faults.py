"""What can go wrong with a store, told in one sentence with its remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class Fault(StrEnum):
    """The kinds of trouble that differ in their remedy."""

    BAD_URL = "bad-url"
    MISSING = "missing"
    UNWRITABLE = "unwritable"
    CORRUPT = "corrupt"
    LOCKED = "locked"
    FULL = "full"
    SCHEMA = "schema"
    UNREACHABLE = "unreachable"


class StoreError(Exception):
    """The one error of the store: a sentence with place and remedy, and the kind of fault."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


_SQLITE = {
    sqlite3.SQLITE_NOTADB: (Fault.CORRUPT, "is not a database; name another file, or move this one away"),
    sqlite3.SQLITE_CORRUPT: (Fault.CORRUPT, "is damaged; restore a copy, or move it away to start a new one"),
    sqlite3.SQLITE_CANTOPEN: (Fault.UNWRITABLE, "cannot be opened; check that its directory exists and may be written"),
    sqlite3.SQLITE_READONLY: (Fault.UNWRITABLE, "may not be written; check the rights of the file and its directory"),
    sqlite3.SQLITE_PERM: (Fault.UNWRITABLE, "may not be opened; check the rights of the file and its directory"),
    sqlite3.SQLITE_BUSY: (Fault.LOCKED, "is locked by another process; try again, or stop the other writer"),
    sqlite3.SQLITE_FULL: (Fault.FULL, "cannot grow: the disk is full; free some space, nothing written so far is lost"),
    sqlite3.SQLITE_IOERR: (Fault.UNWRITABLE, "cannot be read or written; check the disk"),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn every error of the database at a place into a StoreError."""
    try:
        yield
    except DBAPIError as error:
        raise _of(place, error.orig) from error
    except sqlite3.Error as error:
        raise _of(place, error) from error
    except SQLAlchemyError as error:
        raise StoreError(Fault.UNREACHABLE, f"store {place}: {_first_line(error)}") from error


def _of(place: str, error: BaseException | None) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    # Extended codes (SQLITE_IOERR_WRITE, SQLITE_BUSY_SNAPSHOT, ...) carry the primary code in the low byte.
    known = _SQLITE.get(code & 0xFF) if isinstance(code, int) else None
    if known is not None:
        fault, remedy = known
        return StoreError(fault, f"store {place} {remedy}")
    text = _first_line(error)
    if "no such table" in text or "no such column" in text:
        return StoreError(Fault.SCHEMA, f"store {place} lacks a table ({text}); it is not a store of this version")
    return StoreError(Fault.UNREACHABLE, f"store {place} cannot be used: {text}; check the address and the server")


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n", 1)[0]
