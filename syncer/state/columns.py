"""Column types of the state tables: how Python values become database values, the same on every database.

Text is stored readable, with the few characters some database cannot keep escaped. Instants are stored as
whole microseconds since 1970-01-01 UTC: exact, ordered, eight bytes. A value of another type than was written
means that the store is damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Dialect, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

from syncer.state.faults import damaged

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# PostgreSQL refuses NUL, all refuse lone surrogates, MySQL compares keys without their trailing blank
_UNSTORABLE = re.compile("[\\\\\x00\ud800-\udfff]| \\Z")
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")
_MYSQL = ("mysql", "mariadb")

T = TypeVar("T")


class Words(TypeDecorator[str]):
    """Any Python string, lossless. With a `length` it can be a key."""

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARCHAR for keys; otherwise a type without a limit (MySQL's TEXT ends at 64 KB)."""
        if self.length is not None:
            return dialect.type_descriptor(String(self.length))
        return dialect.type_descriptor(mysql.LONGTEXT() if dialect.name in _MYSQL else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape what could not be stored."""
        return None if value is None else _UNSTORABLE.sub(_escape, value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        """Undo the escapes."""
        return _nullable(str, lambda text: _ESCAPED.sub(_unescape, text) if "\\" in text else text)


class Octets(TypeDecorator[bytes]):
    """Bytes. With a `length` they can be a key."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own binary type; MySQL wants a length for keys and a name for the unlimited one."""
        if dialect.name not in _MYSQL:
            return dialect.type_descriptor(LargeBinary())
        return dialect.type_descriptor(mysql.VARBINARY(self.length) if self.length else mysql.LONGBLOB())

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bytes | None]:
        """Bytes or damage."""
        return _nullable(bytes, bytes)


class Number(TypeDecorator[int]):
    """A 64-bit integer."""

    impl = BigInteger
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], int | None]:
        """An integer or damage."""
        return _nullable(int, int)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, returned in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970. Raises `TypeError` for a naive datetime."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """A datetime or damage."""
        return _nullable(int, _instant)


def _nullable(kind: type, convert: Callable[[Any], T]) -> Callable[[Any], T | None]:
    def converted(value: Any) -> T | None:
        if value is None:
            return None
        if not isinstance(value, kind):
            raise damaged()
        return convert(value)

    return converted


def _instant(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise damaged() from None


def _escape(match: re.Match[str]) -> str:
    found = match.group()
    return "\\\\" if found == "\\" else f"\\u{ord(found):04x}"


def _unescape(match: re.Match[str]) -> str:
    found = match.group(1)
    return found if found == "\\" else chr(int(found[1:], 16))
