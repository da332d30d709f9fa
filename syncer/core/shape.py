"""Rows to objects, compiled once per mapping. Pure and total: every row becomes an object or a rejection.

A row's outcome depends on the row, the columns and the mapping only; never on the rows before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from decimal import Decimal
from functools import partial
from itertools import count, repeat

import orjson

from syncer.core.converters import converter_for
from syncer.core.flattening import flattened
from syncer.core.model import CollectionMapping, Column, Rejection, Row, SegmentObject
from syncer.core.naming import object_id
from syncer.core.properties import Property, properties_of, retired_of
from syncer.core.tombstone import living
from syncer.core.values import Converter, NotFinite, Refusal, Value, fragment_text, to_text
from syncer.core.watermark import encode_key, number_key
from syncer.core.whole_columns import ColumnConverter, column_converter, usual_values

#: Objects API page: each value must be less than 32 KB
MAX_VALUE = 32 * 1024

#: integers below it are written without further ado
_PLAIN_INTEGER = 10**30

#: what JSON needs around one object in a request body, generously
_ENVELOPE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """What became of some rows: every row is in one of the two lists or counted as skipped."""

    objects: list[SegmentObject]
    rejections: list[Rejection]
    skipped: int = 0
    #: NaN and infinities that were sent as null
    non_finite: int = 0
    #: rows without a watermark
    null_watermarks: int = 0
    #: ids of skipped rows, where it matters which rows there are
    passed: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """Every id that was read, whatever became of its row."""
        refused = [each.id for each in self.rejections if each.id is not None]
        return [*(each.id for each in self.objects), *refused, *self.passed]


def compile_shape(
    mapping: CollectionMapping,
    columns: Sequence[Column],
    key: Sequence[str],
    zone: tzinfo,
    *,
    watermark: str | None = None,
    largest: int = 500_000,
) -> Shaper:
    """Compile a mapping for these columns.

    Args:
        key: names of the key columns, as the columns have them.
        watermark: name of the watermark column, as the columns have it.
        zone: zone of naive timestamps.
        largest: bytes of the largest request body.

    Raises:
        MappingError: see `properties_of`.
    """
    return Shaper(mapping, columns, key, zone, watermark=watermark, room=largest - _ENVELOPE)


class Shaper:
    """Turns rows into objects and rejections. Make one with `compile_shape`."""

    def __init__(
        self,
        mapping: CollectionMapping,
        columns: Sequence[Column],
        key: Sequence[str],
        zone: tzinfo,
        *,
        watermark: str | None,
        room: int,
    ) -> None:
        self.properties = properties_of(mapping, columns, key)
        self._room = room
        self._names = [each.name for each in self.properties]
        self._indexes = [each.index for each in self.properties]
        converters = [_property_converter(each, zone) for each in self.properties]
        self._converters = [(at, each) for at, each in enumerate(converters) if each is not None]
        self._columns = [
            (each.index, _whole(each, zone, converter))
            for each, converter in zip(self.properties, converters, strict=True)
        ]
        self._plain = not any(each.rule.flatten for each in self.properties)
        self._omit_nulls = mapping.nulls == "omit"
        self._retired: dict[str, object] = dict.fromkeys(retired_of(mapping))
        self._living = living(mapping)
        #: the names of every object, where all have the same
        self._all_names = [*self._retired, *self._names, *self._living]
        by_name = {column.name: index for index, column in enumerate(columns)}
        self._key = [(by_name[name], converter_for(columns[by_name[name]], zone)) for name in key]
        self._key_indexes = [by_name[name] for name in key]
        #: of a key that is one column, and so usually one number
        self._only_key = self._key_indexes[0] if len(key) == 1 else None
        self._key_kinds = [columns[by_name[name]].kind for name in key]
        rule = mapping.watermark
        self._watermark = by_name[watermark] if watermark is not None else None
        self._skip_nulls = rule is not None and rule.nulls == "skip"
        self._not_finite = 0

    def shape(self, rows: Sequence[Row], first: int) -> Shaped:
        """Shape rows; `first` is the position of the first of them in the run."""
        objects = self._all_at_once(rows, first)
        return Shaped(objects=objects, rejections=[]) if objects is not None else self._one_by_one(rows, first)

    def _all_at_once(self, rows: Sequence[Row], first: int) -> list[SegmentObject] | None:
        """The rows as objects, column by column; None: one of them has to be looked at alone.

        What it returns is what `_one_by_one` would: here it takes a third of the time.
        """
        if not rows or not self._plain or self._omit_nulls or not self._names:
            return None
        columns = list(zip(*rows, strict=True))
        if self._watermark is not None and None in columns[self._watermark]:
            return None
        try:
            ids, keys = self._ids_and_keys(rows, columns)
            bodies = self._bodies(columns)
        except (Refusal, NotFinite, orjson.JSONEncodeError):
            return None
        if len(max(bodies, key=len)) >= MAX_VALUE:
            return None
        return list(map(_object, zip(ids, bodies, count(first), keys)))

    def _ids_and_keys(
        self, rows: Sequence[Row], columns: Sequence[Sequence[object]]
    ) -> tuple[Iterable[str], Iterable[str]]:
        if self._only_key is not None:
            numbers = columns[self._only_key]
            if set(map(type, numbers)) == {int} and max(map(abs, numbers)) < _PLAIN_INTEGER:  # type: ignore[arg-type]
                ids = list(map(str, numbers))
                return ids, map(number_key, ids)
        ids = list(map(self._id, rows))
        return ids, [encode_key(self._key_kinds, [row[index] for index in self._key_indexes]) for row in rows]

    def _bodies(self, columns: Sequence[Sequence[object]]) -> list[bytes]:
        found = [convert(columns[index]) for index, convert in self._columns]
        retired, alive = map(repeat, self._retired.values()), map(repeat, self._living.values())
        names = self._all_names
        # as many names as values; what is the same for every row never ends
        return _all_encoded([dict(zip(names, each)) for each in zip(*retired, *found, *alive)])  # noqa: B905

    def _one_by_one(self, rows: Iterable[Row], first: int) -> Shaped:
        objects: list[SegmentObject] = []
        rejections: list[Rejection] = []
        passed: list[str] = []
        skipped = null_watermarks = 0
        self._not_finite = 0
        for position, row in enumerate(rows, first):
            if self._watermark is not None and row[self._watermark] is None:
                null_watermarks += 1
                if self._skip_nulls:
                    skipped += 1
                    passed.extend(self._passed(row))
                    continue
            outcome = self._one(row, position)
            if isinstance(outcome, SegmentObject):
                objects.append(outcome)
            else:
                rejections.append(outcome)
        return Shaped(
            objects=objects, rejections=rejections, skipped=skipped, non_finite=self._not_finite,
            null_watermarks=null_watermarks, passed=passed,
        )  # fmt: skip

    def _passed(self, row: Row) -> list[str]:
        if not self._living:
            return []
        try:
            return [self._id(row)]
        except Refusal:
            return []

    def _one(self, row: Row, position: int) -> SegmentObject | Rejection:
        if self._only_key is not None and type(number := row[self._only_key]) is int and abs(number) < _PLAIN_INTEGER:
            identifier = str(number)
            key = number_key(identifier)
        else:
            try:
                identifier = self._id(row)
            except Refusal as refusal:
                return Rejection(code=refusal.code, reason=refusal.reason, row=position)
            key = encode_key(self._key_kinds, [row[index] for index in self._key_indexes])
        not_finite = self._not_finite
        try:
            body = self._body(row)
        except Refusal as refusal:
            self._not_finite = not_finite  # a refused row sends no null
            return Rejection(code=refusal.code, reason=refusal.reason, row=position, id=identifier, key=key)
        return SegmentObject(identifier, body, position, key)

    def id_of(self, row: Row) -> str | None:
        """The id of a row's object, without shaping the rest of it. None: it has no usable key."""
        try:
            return self._id(row)
        except Refusal:
            return None

    def _id(self, row: Row) -> str:
        parts = [_key_text(row[index], converter) for index, converter in self._key]
        identifier = object_id(parts)
        if not identifier:
            raise Refusal("EMPTY_KEY", "the primary key is empty")
        if not _encodable(identifier):
            raise Refusal("INVALID_TEXT", "the primary key holds text that is not valid Unicode")
        return identifier

    def _body(self, row: Row) -> bytes:
        values = [row[index] for index in self._indexes]
        for position, converter in self._converters:
            value = values[position]
            if value is None:
                continue
            try:
                values[position] = converter(value)
            except NotFinite:
                self._not_finite += 1
                values[position] = None
            except Refusal as refusal:
                raise Refusal(refusal.code, f"{self._names[position]} {refusal.reason}") from None
        if not self._plain or self._omit_nulls:
            named = self._arranged(values)
        else:
            named = dict(zip(self._names, values, strict=True))
        if self._retired:
            # a member of a flattened document may have the name of a retired property, and then it is no longer gone
            named = self._retired | named
        if self._living:
            _refuse_twice(named, self._living)
            named = named | self._living
        if not named:
            raise Refusal("EMPTY_PROPERTIES", "has no property left to send")
        return self._encoded(named)

    def _arranged(self, values: list[object]) -> dict[str, object]:
        named: dict[str, object] = {}
        for each, value in zip(self.properties, values, strict=True):
            pairs = flattened(each.name, value) if each.rule.flatten else [(each.name, value)]
            for name, scalar in pairs:
                if name in named:
                    raise Refusal("PROPERTY_COLLISION", f"{name} comes from more than one place")
                if scalar is not None or not self._omit_nulls:
                    named[name] = scalar
        return named

    def _encoded(self, named: dict[str, object]) -> bytes:
        try:
            body = orjson.dumps(named)
        except orjson.JSONEncodeError:
            # rare: integers beyond 64 bits, and what no driver should return; settled value by value
            body = orjson.dumps({name: _checked(name, value) for name, value in named.items()})
        if len(body) >= MAX_VALUE:
            _refuse_large(named)
            if len(body) > self._room:
                raise Refusal("OBJECT_TOO_LARGE", f"is larger than a request may be, {self._room} bytes")
        return body


def _all_encoded(documents: Sequence[dict[str, object]]) -> list[bytes]:
    """Each as JSON. Encoded one by one, every text would first get a kilobyte, which costs more than the encoding."""
    parted: list[object] = [_LINE_BREAK] * (2 * len(documents) - 1)
    parted[::2] = documents
    return orjson.dumps(parted)[1:-1].split(b",\n,")


#: stands in no JSON text that orjson makes
_LINE_BREAK = orjson.Fragment("\n")
#: a tuple made without the detour over its own constructor
_object = partial(tuple.__new__, SegmentObject)


def _column(each: Property) -> Column:
    """The column, as of the type the mapping asks for."""
    if each.rule.type is None:
        return each.column
    return replace(each.column, kind=each.rule.type, exact=False, scale=None)


def _whole(each: Property, zone: tzinfo, converter: Converter | None) -> ColumnConverter:
    usual = None if each.rule.mask is not None else usual_values(_column(each), zone)
    return column_converter(usual, converter)


def _property_converter(each: Property, zone: tzinfo) -> Converter | None:
    """The column's converter, or that of the type the mapping asks for, and the mask behind it."""
    converter = converter_for(_column(each), zone)
    if each.rule.mask is None:
        return converter
    return _masked(converter, each.rule.mask)


def _masked(converter: Converter | None, mask: str) -> Converter:
    def convert(value: object) -> Value:
        if mask == "redact":
            return "[redacted]"
        text = _text_of(converter(value) if converter else value)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    return convert


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, orjson.Fragment):
        return fragment_text(value)
    return str(to_text(value))


def _key_text(value: object, converter: Converter | None) -> str:
    """One part of the id. Numbers have one text: 1, 1.0 and 1.00 are the same id."""
    if value is None:
        raise Refusal("NULL_KEY", "the primary key is NULL")
    if type(value) is int and -_PLAIN_INTEGER < value < _PLAIN_INTEGER:
        return str(value)
    try:
        return _scalar_text(converter(value) if converter else value)
    except NotFinite:
        raise Refusal("TYPE_MISMATCH", "the primary key is not a finite number") from None
    except Refusal as refusal:
        raise Refusal(refusal.code, f"the primary key {refusal.reason}") from None


def _scalar_text(value: object) -> str:
    if isinstance(value, orjson.Fragment | float):
        number = Decimal(fragment_text(value) if isinstance(value, orjson.Fragment) else repr(value))
        if not number.is_finite():
            raise NotFinite
        text = format(number, "f")
        return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
    try:
        return _text_of(value)
    except ValueError:  # an integer beyond the interpreter's limit of digits
        raise Refusal("VALUE_TOO_LARGE", "is a number of more than 32 KB") from None


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_twice(named: Container[str], added: Iterable[str]) -> None:
    for name in added:
        if name in named:
            raise Refusal("PROPERTY_COLLISION", f"{name} comes from more than one place")


def _checked(name: str, value: object) -> object:
    """One value on the slow path: itself, its exact text as a number, or a refusal."""
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return orjson.Fragment(str(value))
        except ValueError:  # beyond the interpreter's limit of digits
            raise Refusal("VALUE_TOO_LARGE", f"{name} is 32 KB or more") from None
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        if isinstance(value, str):
            raise Refusal("INVALID_TEXT", f"{name} holds text that is not valid Unicode") from None
        raise Refusal("TYPE_MISMATCH", f"{name} holds {type(value).__name__}, which is no JSON value") from None
    return value


def _refuse_large(named: dict[str, object]) -> None:
    for name, value in named.items():
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(orjson.dumps(value))
        if size >= MAX_VALUE:
            raise Refusal("VALUE_TOO_LARGE", f"{name} is 32 KB or more")
