"""Column types of the state tables: how Python values become database values, the same on every database.

Text is stored readable, with the few characters some database cannot keep escaped. Instants are stored as
whole microseconds since 1970-01-01 UTC: exact, ordered, eight bytes. A value of another type than was written
means that the store is damaged.

Of a database outside `FAMILIES` little is expected: text holds ASCII only and is never empty, keys differ also for a
collation that ignores case, and bytes that are a key are written as hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Dialect, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from syncer.state.faults import damaged

#: names of SQLAlchemy's dialects whose own ways are known here and used
MYSQL: Final = ("mysql", "mariadb")
FAMILIES: Final = ("sqlite", "postgresql", *MYSQL)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# PostgreSQL refuses NUL, all refuse lone surrogates, MySQL compares keys without their trailing blank
_UNSTORABLE = re.compile("[\\\\\x00\ud800-\udfff]| \\Z")
_NOT_PORTABLE = re.compile(r"[^ -~]|\\| \Z")
_NOT_PORTABLE_IN_KEYS = re.compile(r"[^ -~]|[\\^A-Z]| \Z")
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4}|U[0-9a-f]{8})")
_CAPITAL = re.compile(r"\^([a-z])")
# Oracle takes empty text for NULL
_EMPTY = "\\"

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
        if dialect.name not in MYSQL:
            return dialect.type_descriptor(Text())
        from sqlalchemy.dialects.mysql import LONGTEXT  # slow to import, and few need it

        return dialect.type_descriptor(LONGTEXT())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape what could not be stored."""
        if value is None:
            return None
        if dialect.name in FAMILIES:
            return _UNSTORABLE.sub(_escape, value)
        if not value:
            return _EMPTY
        return (_NOT_PORTABLE if self.length is None else _NOT_PORTABLE_IN_KEYS).sub(_escape_portably, value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        """Undo the escapes."""
        if dialect.name in FAMILIES:
            return _nullable(str, _unescaped)
        convert = _unescaped_text if self.length is None else _unescaped_key
        return _nullable(str, convert, _of_driver(self, dialect, coltype))


class Octets(TypeDecorator[bytes]):
    """Bytes. With a `length` they can be a key."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own binary type; MySQL wants a length for keys and a name for the unlimited one."""
        if self._is_hexadecimal(dialect):
            return dialect.type_descriptor(String(2 * (self.length or 0)))
        if dialect.name not in MYSQL:
            return dialect.type_descriptor(LargeBinary())
        from sqlalchemy.dialects.mysql import LONGBLOB, VARBINARY

        return dialect.type_descriptor(VARBINARY(self.length) if self.length else LONGBLOB())

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> Any:
        """As they are, or as digits."""
        return value if value is None or not self._is_hexadecimal(dialect) else value.hex()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bytes | None]:
        """Bytes or damage."""
        if self._is_hexadecimal(dialect):
            return _nullable(str, _from_digits, _of_driver(self, dialect, coltype))
        return _nullable((bytes, bytearray, memoryview), bytes)

    def _is_hexadecimal(self, dialect: Dialect) -> bool:
        return self.length is not None and dialect.name not in FAMILIES


class Number(TypeDecorator[int]):
    """A 64-bit integer."""

    impl = BigInteger
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], int | None]:
        """An integer or damage."""
        return _integer(dialect, int)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, returned in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970. Raises `TypeError` for a naive datetime."""
        return None if value is None else microseconds(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """A datetime or damage."""
        return _integer(dialect, instant)


def _nullable(
    kind: type | tuple[type, ...], convert: Callable[[Any], T], read: Callable[[Any], Any] | None = None
) -> Callable[[Any], T | None]:
    """The converter of a column's values; `read` comes first, where the driver gives something to be read."""

    def converted(value: Any) -> T | None:
        if value is not None and read is not None:
            value = read(value)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise damaged()
        return convert(value)

    return converted


def _of_driver(column: TypeDecorator[Any], dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
    return column.impl_instance.result_processor(dialect, coltype)


def _integer(dialect: Dialect, convert: Callable[[int], T]) -> Callable[[Any], T | None]:
    # some databases have one kind of number for everything
    return _nullable(int, convert) if dialect.name in FAMILIES else _nullable((int, Decimal), _whole(convert))


def _whole(convert: Callable[[int], T]) -> Callable[[int | Decimal], T]:
    def converted(value: int | Decimal) -> T:
        if value != (whole := int(value)):
            raise damaged()
        return convert(whole)

    return converted


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970. Raises `TypeError` for a naive datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def instant(stored: int) -> datetime:
    """The instant that a number of microseconds stands for. Raises `StateCorrupt`."""
    try:
        return _EPOCH + timedelta(microseconds=stored)
    except (OverflowError, TypeError):
        raise damaged() from None


def _from_digits(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise damaged() from None


def _escape(match: re.Match[str]) -> str:
    found = match.group()
    return "\\\\" if found == "\\" else f"\\u{ord(found):04x}"


def _escape_portably(match: re.Match[str]) -> str:
    found = match.group()
    if "A" <= found <= "Z":
        return f"^{found.lower()}"
    return f"\\U{ord(found):08x}" if ord(found) > 0xFFFF else _escape(match)


def _unescape(match: re.Match[str]) -> str:
    found = match.group(1)
    return found if found == "\\" else chr(int(found[1:], 16))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_unescape, text) if "\\" in text else text


def _unescaped_text(text: str) -> str:
    return "" if text == _EMPTY else _unescaped(text)


def _unescaped_key(text: str) -> str:
    # capitals first: an escaped ^ is still escaped then
    return _unescaped_text(_CAPITAL.sub(lambda match: match.group(1).upper(), text))
