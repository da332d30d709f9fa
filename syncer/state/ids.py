"""Object ids as short keys, and back. Pure.

Ten million ids are kept, so what most of them look like is stored as what it is: a number in as few bytes as it takes,
in the order of the numbers, so that rows that are read by key are found and added side by side; a UUID in sixteen.
"""

from __future__ import annotations

import re
from typing import Final

from syncer.state.faults import damaged

#: longest key: a tag, and 100 characters of three bytes
LONGEST: Final = 301

#: the tag of a number is how many bytes follow
_UUID: Final = 0x10
_TEXT: Final = 0x20
#: three bytes a character, for text that takes more than that in UTF-8
_EVEN: Final = 0x21
#: numbers of so many digits fit eight bytes
_DIGITS: Final = 18
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def packed(id: str) -> bytes:
    """The key of an id; no two ids have the same.

    >>> packed("258")
    b'\\x02\\x01\\x02'
    """
    if id.isdecimal() and id.isascii() and len(id) <= _DIGITS and (id[0] != "0" or id == "0"):
        number = int(id)
        size = (number.bit_length() + 7) // 8 or 1
        return bytes([size]) + number.to_bytes(size, "big")
    if len(id) == 36 and _CANONICAL.fullmatch(id):
        return bytes([_UUID]) + bytes.fromhex(id.replace("-", ""))
    text = id.encode("utf-8", "surrogatepass")
    if len(text) < LONGEST:
        return bytes([_TEXT]) + text
    return bytes([_EVEN]) + b"".join(ord(each).to_bytes(3, "big") for each in id)


def unpacked(key: bytes) -> str:
    """The id of a key. Raises `StateCorrupt` for what is no key."""
    tag, rest = next(iter(key), 0), key[1:]
    try:
        if tag == _TEXT:
            return rest.decode("utf-8", "surrogatepass")
        if tag == _EVEN:
            return "".join(chr(int.from_bytes(rest[at : at + 3], "big")) for at in range(0, len(rest), 3))
    except ValueError:
        raise damaged() from None
    if tag == _UUID and len(rest) == 16:
        digits = rest.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    if 1 <= tag <= 8 and len(rest) == tag:
        return str(int.from_bytes(rest, "big"))
    raise damaged()
