"""Small requests to somebody else's address: a few tries, then a line in the log. Beside `delivery.client` and its
transport the only file that knows the HTTP library. No address is ever logged: they hold secrets.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx

from syncer import __version__
from syncer.core.verdict import retry_after
from syncer.observe.backlog import Backlog

_log = logging.getLogger("syncer.notifications")

#: seconds for one try, in all
PATIENCE: Final = 10.0
#: seconds before the second and the third try; together short enough for the end of a command
PAUSES: Final = (1.0, 3.0)
#: seconds for which a `Retry-After` is obeyed
LONGEST_PAUSE: Final = 60.0
#: messages that wait for an address
MOST: Final = 100
_AGAIN: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent, and where to."""

    url: str = field(repr=False)
    #: JSON, posted; None: the address is only got
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why a try came to nothing."""

    #: for people; without the address
    reason: str
    #: whether another try may help
    again: bool
    #: seconds that the receiver asks for
    wait: float | None = None


class Outbox:
    """Sends messages in their order, off the way of whoever puts them. Used from one event loop; never raises.

    Certificates are checked, redirects are not followed, no proxy or .netrc is used.
    """

    def __init__(
        self, name: str, *, patience: float = PATIENCE, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """`name` is what log lines call the receiver: `the webhook`. `patience`: seconds for one try, in all."""
        self._name = name
        self._patience = patience
        self._sleep = sleep
        self._backlog = Backlog(self._take, most=MOST, name=name)
        self._client: httpx.AsyncClient | None = None
        #: whether the log knows that it fails
        self._told = False

    def put(self, message: Message) -> None:
        """Send it when its turn comes. When too many wait, the oldest is forgotten."""
        if not self._backlog.put(message):
            self._tell("more wait for it than are kept; the oldest are forgotten")

    async def _take(self, message: Message) -> None:
        problem = await self.send(message)
        if problem is None:
            self._told = False
        else:
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        # once until it works again: what cannot be told must not flood the log instead
        level = logging.DEBUG if self._told else logging.WARNING
        self._told = True
        fields = {"event": "notification_lost", "receiver": self._name, "reason": problem}
        _log.log(level, "%s did not take a notification: %s", self._name, problem, extra={"fields": fields})

    async def send(self, message: Message) -> str | None:
        """Send it now, with retries. Returns None, or why it was not taken, in words without the address."""
        for pause in PAUSES:
            refusal = await self._try(message)
            if refusal is None or not refusal.again:
                return None if refusal is None else refusal.reason
            await self._sleep(max(pause, min(refusal.wait or 0.0, LONGEST_PAUSE)))
        refusal = await self._try(message)
        return None if refusal is None else refusal.reason

    async def _try(self, message: Message) -> _Refusal | None:
        try:
            async with asyncio.timeout(self._patience):
                return _refusal(await self._exchange(message))
        except (TimeoutError, httpx.TimeoutException):
            return _Refusal(reason=f"no answer within {self._patience:g} seconds", again=True)
        except httpx.ProtocolError:
            return _Refusal(reason="it breaks off, or does not speak HTTP", again=True)
        except httpx.TransportError as error:
            trusted = not _untrusted(error)
            reason = "there is no connection to it" if trusted else "its certificate is not trusted"
            return _Refusal(reason=reason, again=trusted)
        except httpx.InvalidURL:
            return _Refusal(reason="its address is none that can be sent to", again=False)

    async def _exchange(self, message: Message) -> httpx.Response:
        if self._client is None:
            context = httpx.create_ssl_context()
            headers = {"User-Agent": f"syncer/{__version__}"}
            self._client = httpx.AsyncClient(verify=context, trust_env=False, timeout=self._patience, headers=headers)
        method, headers = ("GET", {}) if message.body is None else ("POST", {"Content-Type": "application/json"})
        request = self._client.build_request(method, message.url, content=message.body, headers=headers)
        response = await self._client.send(request, stream=True)
        # what it says besides is nothing to us, however long it is
        await response.aclose()
        return response

    async def close(self, seconds: float) -> None:
        """Wait so long for what has been put, then let go."""
        left = await self._backlog.drain(seconds)
        if left:
            self._tell(f"there was no time left for {left}")
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _refusal(response: httpx.Response) -> _Refusal | None:
    status = response.status_code
    if response.is_success:
        return None
    if response.is_redirect:
        return _Refusal(reason=f"HTTP {status}: it is elsewhere now, and redirects are not followed", again=False)
    wait = retry_after(response.headers, datetime.now(UTC))
    return _Refusal(reason=f"HTTP {status}", again=status in _AGAIN or status >= 500, wait=wait)


def _untrusted(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
