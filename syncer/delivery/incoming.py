"""One answer of the API as it arrives: parsed by llhttp, bounded in everything. No connection lives here."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import httptools
import httpx

from syncer.core.verdict import LARGEST_ANSWER

#: bytes of all headers of an answer
_MOST_HEADERS: Final = 32 * 1024
#: bytes of one answer with all that is around its body, after which it is no answer any more
_MOST_BYTES: Final = 4 * LARGEST_ANSWER


class Incoming:
    """What has arrived of one answer."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._body = bytearray()
        #: of a packed body
        self._unpacker: zlib._Decompress | None = None
        self._size = self._head_size = 0
        self._headed = False
        self.complete = False
        #: whether the connection may carry another request
        self.keeps = False
        #: whether only the connection's end tells where the body ends
        self.ends_with_it = False

    def feed(self, data: bytes) -> None:
        """Raises `ValueError` for what is no answer, or comes behind one."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ValueError("the answer is not HTTP") from error
        if not self.complete and len(self._body) > LARGEST_ANSWER:
            self.complete, self.keeps = True, False
        elif not self.complete and self._size > _MOST_BYTES:
            raise ValueError("the answer has no end")

    def ended(self) -> bool:
        """The connection has ended: whether that makes the answer whole."""
        try:
            self._whole()
        except ValueError:
            return False
        return self.ends_with_it

    def response(self) -> httpx.Response:
        """The answer, its body unpacked and cut one byte after the largest."""
        body = bytes(self._body[: LARGEST_ANSWER + 1])
        headers = [each for each in self._headers if each[0] != b"content-encoding"]
        return httpx.Response(self._status, headers=headers, stream=httpx.ByteStream(body))

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """A first line."""
        if self.complete:
            raise ValueError("an answer that nobody asked for")
        self._headers, self._headed = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, of which nothing is known."""
        if self._headed:
            return
        self._headers.append((name.lower(), value))
        self._head_size += len(name) + len(value)
        if self._head_size > _MOST_HEADERS:
            raise ValueError("headers without an end")

    def on_headers_complete(self) -> None:
        """All that comes before the body."""
        self._status = self._parser.get_status_code()
        if 100 <= self._status < 200:
            return
        self._headed = True
        codings = self._values(b"transfer-encoding")
        if codings not in ([], [b"chunked"]):
            # none was asked for, and where its body would end is anybody's guess
            raise ValueError("the answer is in a transfer coding that was not asked for")
        if codings and self._status == 204:
            raise ValueError("the answer has a body that it must not have")  # RFC 9112, section 6.1
        self.ends_with_it = not codings and not self._values(b"content-length")
        self._unpacker = _unpacker(self._values(b"content-encoding"))

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self._unpacker is None:
            self._body += data
            return
        try:
            self._body += self._unpacker.decompress(data, LARGEST_ANSWER + 1)
        except zlib.error:
            raise ValueError("the answer is damaged") from None

    def on_message_complete(self) -> None:
        """The end, unless it was only an announcement."""
        if self._headed:
            self._whole()
            self.complete, self.keeps = True, self._parser.should_keep_alive() and not self.ends_with_it

    def _whole(self) -> None:
        """Raises `ValueError` for a packed body that was cut, or is followed by another."""
        unpacker = self._unpacker
        if unpacker is None or len(self._body) > LARGEST_ANSWER:
            return
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("the answer was cut off")

    def _values(self, name: bytes) -> list[bytes]:
        return [value.strip().lower() for each, value in self._headers if each == name]


def _unpacker(codings: Sequence[bytes]) -> zlib._Decompress | None:
    """A proxy may compress what nobody asked to be compressed. No more than is looked at is unpacked."""
    if codings in ([], [b"identity"], [b""]):
        return None
    windows = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
    if len(codings) != 1 or codings[0] not in windows:
        raise ValueError("the answer is in a content coding that was not asked for")
    return zlib.decompressobj(windows[codings[0]])
