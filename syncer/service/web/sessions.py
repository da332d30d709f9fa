"""Who holds the token: sessions of browsers, and a limit on guessing. No HTTP lives here."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

#: seconds that a browser stays signed in
LASTS: Final = 12 * 3600.0
#: wrong tokens from an address before it has to wait, and how many seconds it takes to earn another try
TRIES: Final = 10
_PAUSE: Final = 6.0
#: sessions and addresses that are remembered; the oldest go first
_SESSIONS: Final = 500
_ADDRESSES: Final = 10_000


class TooManyTries(Exception):
    """An address gave so many wrong tokens that it has to wait."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        #: seconds
        self.wait = wait


class Sessions:
    """Compares tokens, and knows the browsers that gave the right one. Restarts forget them."""

    def __init__(self, token: str | None, monotonic: Callable[[], float]) -> None:
        self._token = _digest(token) if token else None
        self._monotonic = monotonic
        #: digest of the cookie: when it ends
        self._until: OrderedDict[bytes, float] = OrderedDict()
        #: by address: the moment from which on all tries are earned back
        self._guilty: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Sessions {len(self._until)}>"

    @property
    def configured(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def is_token(self, given: str, address: str) -> bool:
        """Whether this is the token, told in a time that says nothing about it.

        Raises:
            TooManyTries: the address guessed too often; then the right one is not told from a wrong one.
        """
        now = self._monotonic()
        guilty = max(self._guilty.get(address, now), now)
        if guilty - now > _PAUSE * (TRIES - 1):
            raise TooManyTries(guilty - now - _PAUSE * (TRIES - 1))
        if self._token is not None and hmac.compare_digest(_digest(given), self._token):
            return True
        self._guilty[address] = guilty + _PAUSE
        self._guilty.move_to_end(address)
        while len(self._guilty) > _ADDRESSES:
            self._guilty.popitem(last=False)
        return False

    def begin(self) -> str:
        """A new session; returns what its cookie holds."""
        cookie = secrets.token_urlsafe(32)
        self._until[_digest(cookie)] = self._monotonic() + LASTS
        while len(self._until) > _SESSIONS:
            self._until.popitem(last=False)
        return cookie

    def knows(self, cookie: str) -> bool:
        """Whether a session with this cookie goes on. Digests are looked up, so timing tells nothing of cookies."""
        return self._until.get(_digest(cookie), 0.0) > self._monotonic()

    def end(self, cookie: str) -> None:
        """Forget the session."""
        self._until.pop(_digest(cookie), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
