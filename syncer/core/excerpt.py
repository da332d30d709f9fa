"""What of an answer may be shown: one printable line without secrets, and without the values we sent. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

import orjson

from syncer.core.model import SegmentObject

#: characters of an answer worth keeping
LONGEST = 300
#: what stands for a word or a secret that is not shown
HIDDEN = "…"

#: letters of a word that was cut off which tell what it was
_TELLING = 6
#: letters that are compared of longer ones
_CUT = 40
#: JSON's escapes, also of JSON in JSON: behind them a word begins
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|[bfnrt\"/])")
_WORD = re.compile(r"\w+")
_HIDDEN_RUN = re.compile(rf"{HIDDEN}(?:[^\w{HIDDEN}]*{HIDDEN})+")


def excerpt(body: bytes, secrets: Iterable[str] = ()) -> str:
    """An answer as one printable line without the secrets. It may still repeat values of the row."""
    forms = {form for secret in secrets if secret for form in (secret, _decoded(json.dumps(secret)[1:-1]))}
    hidden = sorted(forms, key=len, reverse=True)
    text = " ".join(_printable(_unescaped(body)).split())
    # what else is escaped in it, JSON in JSON or a URL, may be a secret's own form before it is undone, or after
    for decode in (str, _decoded):
        text = decode(text)
        for secret in hidden:
            text = text.replace(secret, HIDDEN)
    return text


def _decoded(text: str) -> str:
    return " ".join(_printable(unquote(_ESCAPE.sub(_letter, text))).split())


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most so many characters."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + HIDDEN


def without_values(text: str, sent: Sequence[SegmentObject]) -> str:
    """The text without the words of ids and property values, however the API cut or quoted them.

    Words of one or two letters stay: they tell nothing, and error messages are made of them.
    """
    words = {word for each in sent for word in _words(each)}
    telling = words | {word[:size] for word in words for size in range(_TELLING, min(len(word), _CUT) + 1)}
    hidden = _WORD.sub(
        lambda found: HIDDEN if not telling.isdisjoint((found[0].casefold(), found[0].casefold()[:_CUT])) else found[0],
        text,
    )
    return _HIDDEN_RUN.sub(HIDDEN, hidden)


def _letter(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else " "


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
