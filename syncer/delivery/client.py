"""The only place that speaks HTTP: one POST, and what came back or did not. No retries, no verdicts live here.

httpx is the interface, aiohttp the transport beneath it: httpx's own pool scans every connection for every request
and can lose slots for good when one is cancelled (encode/httpcore#1093).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.tracing import Trace

from syncer.core.verdict import LARGEST_ANSWER, Answer, Fault, NoAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds each step of a request may take. No step is cancelled by us: the connection gives up."""

    #: address, connection and TLS session together
    connect: float = 5
    #: until the whole body is written
    write: float = 30
    #: until the next bytes of the answer
    read: float = 30
    #: everything, also when a server drips
    attempt: float = 90


class HttpClient:
    """Posts bytes to one URL. Certificates are checked, redirects are not followed, no proxy or .netrc is used.

    Connections are kept and belong to the event loop of the first request.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = httpx.URL(url)
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._transport = transport or AiohttpTransport(
            connections=connections, timeouts=self._timeouts, encrypted=self._url.scheme == "https"
        )

    def __repr__(self) -> str:
        return f"<HttpClient {place_of(str(self._url))}>"

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer | NoAnswer:
        """Send once. The answer's body is read up to one byte more than `LARGEST_ANSWER`."""
        deadline = self._clock() + self._timeouts.attempt
        request = httpx.Request("POST", self._url, headers=headers, content=body)
        try:
            response = await self._transport.handle_async_request(request)
            try:
                return await self._read(response, deadline)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            return NoAnswer(fault=_fault_of(error), detail=str(error))

    async def _read(self, response: httpx.Response, deadline: float) -> Answer | NoAnswer:
        body = bytearray()
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            body += chunk
            if len(body) > LARGEST_ANSWER:
                break
            if self._clock() > deadline:
                detail = f"the answer was not complete after {self._timeouts.attempt:g} s"
                return NoAnswer(fault=Fault.IN_DOUBT, detail=detail)
        return Answer(status=response.status_code, headers=response.headers, body=bytes(body[: LARGEST_ANSWER + 1]))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._transport.aclose()


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx's transport interface over aiohttp, with httpx's exceptions for what happened to the request."""

    def __init__(self, *, connections: int, timeouts: Timeouts, encrypted: bool) -> None:
        self._connections = connections
        self._timeouts = timeouts
        self._tls = httpx.create_ssl_context() if encrypted else None
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; the body of the answer is still to be read."""
        session = self._session or self._open()
        with _translated():
            response = await session.request(
                request.method, str(request.url), headers=request.headers.multi_items(),
                data=_TimedBody(request.content, self._timeouts.write), allow_redirects=False,
            )  # fmt: skip
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    def _open(self) -> aiohttp.ClientSession:
        # a session can only be made inside the event loop
        timeouts = self._timeouts
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=self._connections, ssl=True if self._tls is None else self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=timeouts.attempt, connect=timeouts.connect, sock_connect=timeouts.connect, sock_read=timeouts.read
            ),
            trust_env=False,
        )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Connector(aiohttp.TCPConnector):
    """Never uses a kept connection on which something arrived that nobody had asked for.

    aiohttp itself would take it for the answer to the next request: a rejected object would count as accepted.
    """

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if kept.protocol is not None and not kept.protocol.should_close:
                return kept
            kept.close()
        return None


class _TimedBody(aiohttp.BytesPayload):
    """A body whose writing takes a limited time; aiohttp itself only limits reading."""

    def __init__(self, body: bytes, seconds: float) -> None:
        super().__init__(body)
        self._seconds = seconds

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        assert isinstance(writer, StreamWriter)
        try:
            async with asyncio.timeout(self._seconds):
                await super().write_with_length(writer, content_length)
                await writer.drain()
        except TimeoutError:
            # closing it would wait for what is still to be written, for ever
            if writer.transport is not None:
                writer.transport.abort()
            raise


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with _translated():
            chunk = await self._response.content.readany()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # keeps the connection when the answer was read to its end, drops it otherwise
        self._response.close()


@contextmanager
def _translated() -> Iterator[None]:
    """aiohttp's exceptions as httpx's. Whatever is not known to come before the request left counts as after it."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout("no connection within the time allowed") from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(_words_of(error)) from error
    except TimeoutError as error:
        raise httpx.ReadTimeout("no answer within the time allowed") from error
    except aiohttp.ClientResponseError as error:
        raise httpx.RemoteProtocolError("the answer is not HTTP") from error
    except aiohttp.ClientPayloadError as error:
        raise httpx.RemoteProtocolError("the answer was cut off or is damaged") from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(_words_of(error)) from error


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _fault_of(error: httpx.TransportError) -> Fault:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fault.UNTRUSTED
        cause = cause.__cause__ or cause.__context__
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return Fault.IN_DOUBT if sent else Fault.NOT_SENT


def place_of(url: str) -> str:
    """`host:port` of a URL, for people; never its user or password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
