"""What of an answer may be shown: one printable line without secrets, and without the values we sent. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import orjson

from syncer.core.model import SegmentObject

#: characters of an answer worth keeping
LONGEST = 300
#: what stands for a word or a secret that is not shown
HIDDEN = "…"

_WORD = re.compile(r"\w+")
_HIDDEN_RUN = re.compile(rf"{HIDDEN}(?:[^\w{HIDDEN}]*{HIDDEN})+")


def excerpt(body: bytes, secrets: Iterable[str] = ()) -> str:
    """An answer as one printable line without the secrets. It may still repeat values of the row."""
    text = " ".join(_printable(_unescaped(body)).split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most so many characters."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + HIDDEN


def without_values(text: str, sent: Sequence[SegmentObject]) -> str:
    """The text without the words of ids and property values, however the API cut or quoted them.

    Words of one or two letters stay: they tell nothing, and error messages are made of them.
    """
    words = {word for each in sent for word in _words(each)}
    hidden = _WORD.sub(lambda found: HIDDEN if found[0].casefold() in words else found[0], text)
    return _HIDDEN_RUN.sub(HIDDEN, hidden)


def _words(sent: SegmentObject) -> Iterator[str]:
    values = json.loads(sent.properties, parse_int=str, parse_float=str).values()
    for text in (sent.id, *(value for value in values if isinstance(value, str))):
        for word in _WORD.findall(text.casefold()):
            if len(word) > 2 or any(letter.isdigit() for letter in word):
                yield word


def _unescaped(body: bytes) -> str:
    """JSON with its escapes undone, so that words can be compared; anything else as text."""
    try:
        return orjson.dumps(orjson.loads(body)).decode()
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
