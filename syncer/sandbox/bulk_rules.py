"""What the Objects Bulk API accepts: gzip of one object a line, read in bounded memory. Pure: no I/O, no clock.

An object's own rules are those of `rules`. Where Segment's page is silent the strict reading is taken: no
empty lines, no part without objects, and KB and MB of 1,000 and 1,000,000 bytes. An id may come again in a part:
objects are merged in their order.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from syncer.sandbox.rules import MAX_BODY, Refusal, SetObject, read_line

#: bytes inflated at a time
_PIECE = 64 * 1024
#: zlib's window of a gzip member
_GZIP = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkLimits:
    """The documented limits. Tests lower them."""

    #: bytes of a part, uncompressed; no more are taken compressed either
    part: int = 512_000_000
    #: bytes of an object: of its line
    object: int = 400_000
    #: requests at once of one write key, and of one address
    at_once: int = 20
    #: seconds without a request after which a session expires
    idle: float = 600.0


class PartRefused(Exception):
    """A part breaks a rule; `refusal` says on which line."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.refusal = Refusal(status=status, text=text)


def refuse_upload(headers: Mapping[str, str]) -> Refusal | None:
    """The refusal of an upload that is not declared as what it has to be, or None."""
    if headers.get("content-type", "").strip().lower() != "binary/octet-stream":
        return Refusal(status=400, text="the Content-Type must be binary/octet-stream")
    if headers.get("content-encoding", "").strip().lower() != "gzip":
        return Refusal(status=400, text="the Content-Encoding must be gzip")
    return None


def read_part(pieces: Iterable[bytes], limits: BulkLimits) -> Iterator[tuple[str, SetObject]]:
    """The objects of an uploaded part, each with its collection, in their order.

    Args:
        pieces: the compressed body, cut anywhere.

    Raises:
        PartRefused: at the first thing that breaks a rule.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(pieces, limits), 1):
            if not line.strip():
                raise PartRefused(f"line {number} is empty; each line holds one object")
            read = read_line(line)
            if isinstance(read, Refusal):
                raise PartRefused(f"line {number}: {read.text}")
            yield read
    except zlib.error as error:
        raise PartRefused(f"the body is not gzip after line {number}: {error}") from None
    except EOFError:
        raise PartRefused(f"the gzip stream ends too early, after line {number}") from None
    except _LineTooLong:
        raise PartRefused(
            f"line {number + 1} is larger than {limits.object} bytes, the limit of an object (400 KB)"
        ) from None
    if number == 0:
        raise PartRefused("the part holds no objects")


def read_finish(headers: Mapping[str, str], body: bytes) -> str | Refusal:
    """The error text of a `POST /v0/finish/<sync_id>`: blank if everything went well. Never raises."""
    if len(body) > MAX_BODY:
        return Refusal(status=413, text=f"the body is larger than {MAX_BODY} bytes (500 KB)")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(status=400, text="the Content-Type must be application/json")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal(status=400, text='the body is not JSON; expected {"error": ""}, or a text if the sync failed')
    error = document.get("error") if type(document) is dict and len(document) == 1 else None
    if type(error) is not str:
        return Refusal(status=400, text='the body must be {"error": ""}, or have a text there if the sync failed')
    return error.strip()


class _LineTooLong(Exception):
    """The line after the last complete one is too long."""


def _lines(pieces: Iterable[bytes], limits: BulkLimits) -> Iterator[bytes]:
    """Lines without their ends. The last one may, but need not, have an end."""
    rest = b""
    for text in _inflated(pieces, limits.part):
        *whole, rest = (rest + text).split(b"\n")
        for line in whole:
            if len(line) > limits.object:
                raise _LineTooLong
            yield line
        if len(rest) > limits.object:
            raise _LineTooLong
    if rest:
        yield rest


def _inflated(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The uncompressed bytes, a little at a time, of one or more gzip members; never more than the limit."""
    inflater, total = zlib.decompressobj(_GZIP), 0
    begun = False
    for piece in pieces:
        left = piece
        while left:
            if inflater.eof:
                inflater = zlib.decompressobj(_GZIP)
            begun = True
            text = inflater.decompress(left, _PIECE)
            left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            total += len(text)
            if total > limit:
                raise too_large(limit)
            if text:
                yield text
    if not begun or not inflater.eof:
        raise EOFError


def too_large(limit: int) -> PartRefused:
    """The refusal of a part over its limit."""
    return PartRefused(f"the part is larger than {limit} bytes uncompressed; upload it as several", 413)
