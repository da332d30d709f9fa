"""Rows are cut out of MySQL's packets as PyMySQL itself would read them, byte by byte."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from campaign import rounds
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.connections import MySQLResult
from pymysql.err import InternalError
from pymysql.protocol import MysqlPacket

from syncer.source.cursor_mysql import Form, values_of

_LONG = [250, 251, 252, 255, 256, 65_535, 65_536, 2**24 - 1, 2**24]


def field(value: bytes | None) -> bytes:
    """A value as the server writes it: its length, in as few bytes as will do, and itself."""
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    lead, width = (252, 2) if size < 2**16 else (253, 3) if size < 2**24 else (254, 8)
    return bytes([lead]) + size.to_bytes(width, "little") + value


def pymysql_reads(packet: bytes, forms: list[Form]) -> tuple[Any, ...]:
    read: Any = MySQLResult._read_row_from_packet
    row: tuple[Any, ...] = read(SimpleNamespace(converters=forms), MysqlPacket(packet, "utf8"))
    return row


TEXTS = st.text() | st.text(alphabet="aé", min_size=200, max_size=300) | st.sampled_from(["", "日本", "\x00", "\x7f"])
WESTERN = st.text("az\xe9\xff€", max_size=300).map(lambda text: text.encode("cp1252"))
VALUES = st.one_of(
    st.tuples(st.just(("utf8", None)), st.none() | TEXTS.map(str.encode)),
    st.tuples(st.just(("cp1252", None)), st.none() | WESTERN),
    st.tuples(st.just(("big5", None)), st.none() | st.text("a\\功許蓋", max_size=9).map(lambda t: t.encode("big5"))),
    st.tuples(st.just((None, None)), st.none() | st.binary() | st.binary(min_size=240, max_size=260)),
    st.tuples(st.just(("ascii", int)), st.none() | st.integers().map(lambda n: b"%d" % n)),
    st.tuples(st.just(("ascii", float)), st.none() | st.floats().map(lambda n: repr(n).encode())),
)  # fmt: skip
ROWS = st.lists(VALUES, max_size=12)


def same(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    return [*map(repr, ours)] == [*map(repr, theirs)]


@settings(max_examples=rounds(short=300, long=50_000), deadline=None)
@given(ROWS)
def test_values_are_those_pymysql_reads(row: list[tuple[Form, bytes | None]]) -> None:
    """NULL, texts of several encodings, bytes, numbers, of any length."""
    forms = [form for form, _ in row]
    packet = b"".join(field(value) for _, value in row)
    assert same(values_of(packet, forms), pymysql_reads(packet, forms))


@pytest.mark.parametrize("size", _LONG)
@pytest.mark.parametrize("encoding", ["utf8", None])
def test_values_of_every_width_of_length(size: int, encoding: str | None) -> None:
    """What follows a long value is found too."""
    forms: list[Form] = [(encoding, None), ("ascii", int)]
    packet = field(b"x" * size) + field(b"7")
    assert values_of(packet, forms) == pymysql_reads(packet, forms)


@settings(max_examples=rounds(short=300, long=20_000), deadline=None)
@given(ROWS.filter(bool), st.data())
def test_a_packet_that_is_cut_short_is_no_row(row: list[tuple[Form, bytes | None]], data: st.DataObject) -> None:
    """PyMySQL would make a shorter row, or a shorter text, of some of these."""
    forms = [form for form, _ in row]
    packet = b"".join(field(value) for _, value in row)
    cut = packet[: data.draw(st.integers(0, len(packet) - 1))]
    with pytest.raises((InternalError, ValueError)):
        values_of(cut, forms)


def test_a_packet_with_more_than_its_columns_is_no_row() -> None:
    """Nothing of it is left out."""
    with pytest.raises(InternalError, match="not that of its columns"):
        values_of(field(b"1") + field(b"2"), [("ascii", int)])
