"""Names on the wire: snake_case properties, the collection rule, object ids. Pure text in, text out."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

#: Objects API page: at most 100 characters
MAX_ID = 100
MAX_COLLECTION = 100

#: Objects API page: lowercase letters and underscores, no underscore at the edges
_COLLECTION = re.compile(r"[a-z](?:[a-z_]*[a-z])?")

#: properties that a warehouse keeps for itself: sent, they are lost there
RESERVED_PROPERTIES = frozenset({"id", "received_at", "uuid", "uuid_ts"})

#: an id over the limit keeps this much of itself in front of its digest
_ID_PREFIX = 59
_CUT = re.compile(rf".{{{_ID_PREFIX}}}~[0-9a-f]{{40}}", re.DOTALL)


def collection_problem(name: str) -> str | None:
    """Say what is wrong with a collection name; None when nothing is. Source: the Objects API page, `set`."""
    if len(name) > MAX_COLLECTION:
        return f"a collection name has at most {MAX_COLLECTION} characters, this one has {len(name)}"
    if _COLLECTION.fullmatch(name):
        return None
    return "a collection name is made of lowercase letters and underscores, with no underscore at either end"


def snake_case(name: str) -> str:
    """Property name of a column.

    Words end where a lowercase letter or digit meets an uppercase letter, where an acronym meets a capitalised
    word, and at everything that is neither letter nor digit. Digits stay with the word before them; letters of
    every script are kept. Empty when the name holds neither letter nor digit.

    >>> [snake_case(each) for each in ("userID", "HTTPServer", "address2", "créé le", "ÀPropos", "2fa Enabled")]
    ['user_id', 'http_server', 'address2', 'créé_le', 'à_propos', '2fa_enabled']
    """
    text = unicodedata.normalize("NFC", name)
    kinds = "".join(_letter_kind(each) for each in text)
    words: list[str] = [""]
    for index, char in enumerate(text):
        if kinds[index] == "-":
            words.append("")
            continue
        if _begins_word(text, kinds, index):
            words.append("")
        words[-1] += char
    joined = "_".join(word.lower() for word in words if word)
    return unicodedata.normalize("NFC", joined)


def _letter_kind(char: str) -> str:
    """`U`pper, `l`ower (and caseless), `d`igit, `m`ark (goes with the letter before it), `-` anything else."""
    if char.isupper() or char.istitle():
        return "U"
    if char.isalpha():
        return "l"
    if char.isdigit() or unicodedata.category(char) == "Nd":
        return "d"
    return "m" if unicodedata.category(char).startswith("M") else "-"


def _begins_word(text: str, kinds: str, index: int) -> bool:
    """Whether a new word begins at this character.

    1. a capital after a lowercase letter or digit: user|ID, line2|Text
    2. the last capital of an acronym before a lowercase word: HTTP|Server
    3. but the s of a plural acronym is no such word: IDs
    """
    if kinds[index] != "U" or index == 0:
        return False
    if kinds[index - 1] != "U":
        return kinds[index - 1] != "-"
    if kinds[index + 1 : index + 2] != "l":
        return False
    return not (text[index + 1] == "s" and kinds[index + 2 : index + 3] != "l")


def object_id(parts: Sequence[str]) -> str:
    r"""Join key parts into one id, injectively: `\` and `:` inside a part of a composite key are escaped.

    Over 100 characters: the first 59, a tilde and 160 bits of SHA-256 in hex.

    >>> object_id(["a:b", "1"])
    'a\\:b:1'
    """
    if len(parts) == 1:
        joined = parts[0]
    else:
        joined = ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts)
    if len(joined) <= MAX_ID:
        return joined
    digest = hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f"{joined[:_ID_PREFIX]}~{digest}"


def id_parts(identifier: str, count: int) -> list[str] | None:
    r"""The key parts that `object_id` made an id of, where it was not cut. None: it makes no such id of so many parts.

    >>> id_parts("a\\:b:1", 2)
    ['a:b', '1']
    """
    if count == 1:
        return [identifier]
    parts = [""]
    for text in re.findall(r"\\[\\:]|[^\\]", identifier):
        if text == ":":
            parts.append("")
        else:
            parts[-1] += text[-1]
    return parts if len(parts) == count and object_id(parts) == identifier else None


def was_cut(identifier: str) -> bool:
    """Whether an id may end with a digest, so that nobody can tell its key."""
    return len(identifier) == MAX_ID and _CUT.fullmatch(identifier) is not None
