"""Rows out of PyMySQL's packets. Its own way calls four functions for each value, and takes twice as long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from pymysql.cursors import SSCursor
from pymysql.err import InternalError

#: of a column: the encoding of its text, None for bytes; what makes a number of it, None for none
Form: TypeAlias = tuple[str | None, Callable[[str], Any] | None]

#: a length of one byte, up to this; 251 is NULL, and the others tell how many bytes the length has
_SHORT = 250
_NULL = 251
_WIDTHS = {252: 2, 253: 3, 254: 8}


class Cursor(SSCursor):
    """Leaves the rows at the server until they are asked for, and what was not asked for for good.

    PyMySQL's own would read the rest when it is closed, from a connection that is given up or lost.
    """

    def fetchmany(self, size: int | None = None) -> tuple[tuple[Any, ...], ...]:
        """The next rows, so many at most; none at the end."""
        result: Any = self._result  # type: ignore[attr-defined]  # PyMySQL's own, which its types leave out
        wanted = size or self.arraysize
        rows: list[tuple[Any, ...]] = []
        while result.unbuffered_active and len(rows) < wanted:
            packet = result.connection._read_packet()
            if result._check_packet_is_eof(packet):
                result.unbuffered_active = False
                result.connection = None
            else:
                rows.append(values_of(packet.get_all_data(), result.converters))
        return tuple(rows)

    def close(self) -> None:
        """Ask for nothing more."""
        left: Any = getattr(self, "_result", None)
        if left is not None:
            left.unbuffered_active = False
        super().close()


def values_of(packet: bytes, forms: Sequence[Form]) -> tuple[Any, ...]:
    """The values of a row of the text protocol: each is its length and so many bytes.

    Source: ProtocolText::ResultsetRow of the MySQL protocol.

    Raises:
        InternalError: the packet is shorter or longer than its columns.
    """
    row: list[Any] = []
    # one text for each byte: what is ASCII in it is so in every encoding the server knows, and needs no decoding
    text = packet.decode("latin-1")
    at = 0
    try:
        for encoding, convert in forms:
            size = packet[at]
            at += 1
            if size > _SHORT:
                if size == _NULL:
                    row.append(None)
                    continue
                width = _WIDTHS[size]
                size = int.from_bytes(packet[at : at + width], "little")
                at += width
            end = at + size
            if encoding is None:
                value: Any = packet[at:end]
            else:
                value = text[at:end]
                if not value.isascii():
                    value = packet[at:end].decode(encoding)
            row.append(value if convert is None else convert(value))
            at = end
    except (IndexError, KeyError):
        at = -1
    if at != len(packet):
        raise InternalError("a row came whose length is not that of its columns")
    return tuple(row)
