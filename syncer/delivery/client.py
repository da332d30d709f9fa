"""One POST, and what came back or did not. No retries, no verdicts live here.

httpx is the interface; the transport beneath it is `transport.py`. httpx's own pool scans every connection for every
request and can lose slots for good when one is cancelled (encode/httpcore#1093).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx

from syncer.core.verdict import LARGEST_ANSWER, Answer, Fault, NoAnswer
from syncer.delivery.transport import Timeouts, Transport

__all__ = ["HttpClient", "Timeouts", "place_of"]


class HttpClient:
    """Posts bytes to one URL, or to paths below it.

    Certificates are checked, redirects are not followed, no proxy or .netrc is used. Connections are kept and belong to
    the event loop of the first request.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        timeouts: Timeouts | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = httpx.URL(url)
        self._transport = transport or Transport(
            connections=connections, timeouts=timeouts or Timeouts(), encrypted=self._url.scheme == "https"
        )

    def __repr__(self) -> str:
        return f"<HttpClient {place_of(str(self._url))}>"

    async def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        path: str = "",
        *,
        still: Callable[[], bool] = lambda: True,
    ) -> Answer | NoAnswer:
        """Send once. `path` is quoted already, and comes after the URL's own.

        `still` is asked at the last moment, when there is a connection: whether it is to be sent at all. The answer's
        body is read up to one byte more than `LARGEST_ANSWER`.
        """
        url = self._url.copy_with(raw_path=self._url.raw_path.rstrip(b"/") + path.encode()) if path else self._url
        request = httpx.Request(
            "POST", url, headers=headers, stream=httpx.ByteStream(body), extensions={"still": still}
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            return NoAnswer(fault=_fault_of(error), detail=str(error))
        assert isinstance(response.stream, httpx.SyncByteStream)
        said = b"".join(response.stream)[: LARGEST_ANSWER + 1]
        return Answer(status=response.status_code, headers=response.headers, body=said)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._transport.aclose()


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
