"""Numbers, times and lengths as the page writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SIZES = ("KB", "MB", "GB", "TB")


def number(value: int) -> str:
    """`1,234,567`."""
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes in the unit that leaves few digits: `512 B`, `1.2 MB`."""
    if value < 1000:
        return f"{value} B"
    power = next((power for power in range(1, len(_SIZES)) if value < 999.5 * 1000**power), len(_SIZES))
    scaled = value / 1000**power
    return f"{scaled:.1f} {_SIZES[power - 1]}" if scaled < 9.95 else f"{scaled:,.0f} {_SIZES[power - 1]}"


def span(length: timedelta) -> str:
    """A length of time in its two largest units: `3d 4h`, `12m 5s`; below ten seconds with a decimal."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    rest, parts = round(seconds), []
    for unit, worth in _UNITS:
        units, rest = divmod(rest, worth)
        parts.append(f"{units}{unit}" if units else "")
    largest = next(place for place, part in enumerate(parts) if part)
    return " ".join(filter(None, parts[largest : largest + 2]))


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or until when; whole seconds, so that it does not flicker."""
    past = timedelta(seconds=round((now - at).total_seconds()))
    if abs(past) < timedelta(seconds=2):
        return "now"
    told = span(abs(past)).replace(".0s", "s")
    return f"{told} ago" if past > timedelta() else f"in {told}"


def age(at: datetime, now: datetime) -> str:
    """How old it is, in whole seconds."""
    return span(timedelta(seconds=max(round((now - at).total_seconds()), 0))).replace(".0s", "s")


def moment(at: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: datetime) -> str:
    """The time of day in UTC, to the second."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def machine(at: datetime) -> str:
    """For programs: ISO 8601."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def count(value: int, one: str, many: str) -> str:
    """`1 mapping`, `2 mappings`."""
    return f"{value:,} {one if value == 1 else many}"
