"""Durations and sizes as people write them. Pure text in, values out."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(
    r"(?:(?P<weeks>[0-9]{1,9})w)?(?:(?P<days>[0-9]{1,9})d)?(?:(?P<hours>[0-9]{1,9})h)?"
    r"(?:(?P<minutes>[0-9]{1,9})m)?(?:(?P<seconds>[0-9]{1,9})s)?"
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
_SIZE = re.compile(r"([0-9]{1,9}) ?(B|KB|MB|GB)")
_BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}

#: beyond a century, adding to a date leaves the calendar of databases and of Python
LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """Length of time from text such as `30s`, `5m`, `1h30m`, `50d` or `2w`; larger units come first.

    Raises:
        ValueError: one sentence saying what was expected; it does not repeat the text.
    """
    if re.fullmatch(r"[0-9]+", text):
        raise ValueError("a duration needs a unit: s, m, h, d or w, such as `30s`, `5m`, `1h30m` or `50d`")
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError("expected a duration such as `30s`, `5m`, `1h30m`, `50d` or `2w`")
    seconds = sum(int(count) * _SECONDS[unit] for unit, count in found.groupdict(default="0").items())
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"a duration is at most {LONGEST.days}d")
    return timedelta(seconds=seconds)


def duration_text(length: timedelta) -> str:
    """A duration as it is written in the file: `1h30m`. Whole seconds."""
    rest, parts = int(length.total_seconds()), []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes from text such as `500KB`; a KB is 1000 bytes, as in the limits Segment documents.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("expected a size such as `800B`, `500KB` or `2MB`")
    return int(found[1]) * _BYTES[found[2]]
