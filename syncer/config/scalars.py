"""Single values of the file, from the text as written. Each function raises ValueError with one sentence for people.

The sentence never repeats the text: it may have come from a variable, and so be secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import available_timezones

from syncer.config.nearest import is_name, nearest, one_of, suggestion
from syncer.config.units import parse_duration, parse_size
from syncer.core.calendar import parse_cron, parse_weekdays
from syncer.core.notes import FIELDS, TEXT
from syncer.core.templates import Json, fields_in, texts_in
from syncer.core.zones import zone_of

#: a name of a mapping, a source or a tag
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
NAME_RULE = "letters, digits, `_`, `-` and `.`, at most 100"

_LONGEST_CRON = 200
#: bytes of an upload to the Bulk API
_SMALLEST_PART, _LARGEST_PART = 1_000, 512_000_000
_QUOTED = re.compile("`.*`", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_SERVED_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
_BOOLEANS = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)
_PROPERTY = re.compile(r"[a-z_][a-z0-9_]{0,127}")
_DATABASE_URL = re.compile(r"[A-Za-z][A-Za-z0-9_+]*://[^\x00-\x1f]*")
#: what Basic authentication can carry as a user name
_WRITE_KEY = re.compile(r"[!-9;-~]+")
_DESTINATION_ID = re.compile(r"[^\s/]+/[0-9a-f]{32}")


def text(value: object, expected: str) -> str:
    """Pass text on; anything else is not what was expected."""
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")
    return value


def integer(value: object) -> int:
    """Whole number."""
    written = text(value, "a whole number")
    if not _INTEGER.fullmatch(written):
        raise ValueError("expected a whole number")
    return int(written)


def number(value: object) -> float:
    """Whole number or decimal fraction."""
    written = text(value, "a number")
    if not _NUMBER.fullmatch(written):
        raise ValueError("expected a number")
    return float(written)


def deletes(value: object) -> str:
    """What becomes of objects whose rows are gone."""
    written = text(value, "`ignore` or `tombstone`")
    if written not in ("ignore", "tombstone"):
        found = nearest(written, ("ignore", "tombstone"))
        raise ValueError("expected `ignore` or `tombstone`" + (f"; did you mean `{found}`?" if found else ""))
    return written


def share(value: object) -> float:
    """Part of a whole: `20%` or `0.2`."""
    written = text(value, "a share such as `20%`")
    percent = written.endswith("%")
    plain = written[:-1] if percent else written
    number(plain)
    # in decimal: 33.3% is what 0.333 is
    found = Decimal(plain) / 100 if percent else Decimal(plain)
    if not 0 <= found <= 1:
        raise ValueError("expected a share between `0%` and `100%`")
    return float(found)


def boolean(value: object) -> bool:
    """YAML's words for true and false."""
    found = _BOOLEANS.get(text(value, "`true` or `false`").lower())
    if found is None:
        raise ValueError("expected `true` or `false`")
    return found


def retired(value: object) -> Literal[True]:
    """The one value of `retired`, which `relations.inherit` leaves in its place."""
    if value is not None:
        raise ValueError("expected `null`: it is what every object carries from now on")
    return True


def duration(value: object) -> timedelta:
    """Length of time above zero."""
    length = parse_duration(text(value, "a duration such as `5m`"))
    if not length:
        raise ValueError("expected a duration above zero")
    return length


def part_size(value: object) -> int:
    """Bytes of an upload, uncompressed."""
    size = parse_size(text(value, "a size such as `16MB`"))
    if not _SMALLEST_PART <= size < _LARGEST_PART:
        raise ValueError("expected a size from `1KB` to below `512MB`, the most that the Bulk API takes")
    return size


def lookback(value: object) -> timedelta | int:
    """Length of time, or a plain number for integer watermarks."""
    written = text(value, "a duration such as `5m`, or a whole number for an integer watermark")
    return integer(written) if re.fullmatch(r"[0-9]{1,18}", written) else parse_duration(written)


def timezone(value: object) -> str:
    """IANA name of a time zone."""
    written = text(value, "a time zone such as `America/New_York`")
    try:
        zone_of(written)
    except (KeyError, ValueError, OSError):  # unknown names, impossible ones, and folders of the zone database
        near = suggestion(written, available_timezones())
        raise ValueError(f"this is not an IANA time zone such as `America/New_York`{near}") from None
    return written


def cron(value: object) -> str:
    """Cron expression of five fields, blanks made single."""
    written = " ".join(text(value, "a cron expression such as `0 2 * * *`").split())
    if len(written) > _LONGEST_CRON:
        raise ValueError("expected a cron expression such as `0 2 * * *`")
    try:
        parse_cron(written)
    except ValueError as refused:
        # it quotes what it refuses
        raise ValueError(_QUOTED.sub("this", str(refused))) from None
    return written


def clock_time(value: object) -> time:
    """Local time of day; `24:00` is the midnight that the day ends with."""
    found = _CLOCK.fullmatch(text(value, "a time of day such as `22:00`"))
    if found is None or int(found[1]) * 60 + int(found[2]) > 24 * 60:
        raise ValueError("expected a time of day from `00:00` to `24:00`")
    return time(int(found[1]) % 24, int(found[2]))


def weekdays(value: object) -> frozenset[int]:
    """Days of the week as in crontab; 0 is Sunday."""
    written = "".join(text(value, "days such as `mon-fri`").split())
    if len(written) > _LONGEST_CRON:
        raise ValueError("expected days such as `mon-fri` or `sat,sun`")
    try:
        return parse_weekdays(written)
    except ValueError as refused:
        # it quotes what it refuses
        raise ValueError(_QUOTED.sub("this", str(refused))) from None


def host(value: object) -> str:
    """Address or name to listen on."""
    written = text(value, "an address such as `127.0.0.1`")
    if not _HOST.fullmatch(written):
        raise ValueError("expected an address such as `127.0.0.1`, `0.0.0.0` or `::`")
    return written


def served_name(value: object) -> str:
    """Name under which the status page is reached: as browsers send it, a port behind it or not."""
    written = text(value, "a name such as `status.example.com`")
    if not _SERVED_NAME.fullmatch(written):
        raise ValueError("expected a name such as `status.example.com` or `status.example.com:8443`")
    return written


def property_name(value: object) -> str:
    """Name that a property is renamed to."""
    written = text(value, "a property name")
    if not _PROPERTY.fullmatch(written):
        raise ValueError("a property name is snake_case: lowercase letters, digits and `_`, not a digit first")
    return written


def tag(value: object) -> str:
    """Tag of a mapping."""
    written = text(value, "a tag")
    if not NAME.fullmatch(written):
        raise ValueError(f"a tag is made of {NAME_RULE}")
    return written


def database_url(value: object) -> str:
    """SQLAlchemy URL. Read here once, because what SQLAlchemy says of a bad one quotes pieces of the password."""
    from sqlalchemy import make_url  # slow to import
    from sqlalchemy.exc import ArgumentError

    expected = "a database URL such as `postgresql+psycopg://user@host/database` or `sqlite:///file.db`"
    written = text(value, expected)
    if not _DATABASE_URL.fullmatch(written):
        raise ValueError(f"expected {expected}")
    try:
        make_url(written)
    except (ArgumentError, ValueError):
        raise ValueError(
            f"expected {expected}; in user and password `/`, `:`, `@`, `?` and `%` are written `%2F`, `%3A`, `%40`, "
            "`%3F` and `%25`"
        ) from None
    return written


def write_key(value: object) -> str:
    """Write key of a Segment source."""
    written = text(value, "the write key as text")
    if not _WRITE_KEY.fullmatch(written):
        raise ValueError("a write key has no blanks, line breaks or colons; take it from Settings > API Keys")
    return written


def destination_id(value: object) -> str:
    """Host and digest, as `syncer check` tells them."""
    expected = "the id that `syncer check` tells, such as `objects.segment.com/` and 32 hexadecimal digits"
    written = text(value, expected)
    if not _DESTINATION_ID.fullmatch(written):
        raise ValueError(f"expected {expected}")
    return written


def endpoint(value: object) -> str:
    """Base URL of the API, without a slash at its end. TLS is required off this host: the write key travels there."""
    expected = "a URL such as `https://objects.segment.com` or `http://127.0.0.1:8765`"
    parts = _split(text(value, expected), expected)
    if parts.username is not None or parts.password is not None:
        raise ValueError("an endpoint holds no user or password; the write key is its own key")
    if parts.query or parts.fragment:
        raise ValueError("an endpoint has no `?` and no `#`")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("an endpoint on another host needs `https://`, because the write key is sent to it")
    return parts.geturl().rstrip("/")


def web_url(value: object) -> str:
    """URL to notify, `{mapping}` in it as it stands. Whoever runs the receiver chooses whether by TLS."""
    expected = "a URL such as `https://hooks.slack.com/services/...`"
    written = text(value, expected)
    if _split(written, expected).fragment:
        raise ValueError("a URL to send to has no `#`")
    if any(each != "mapping" for each in fields_in(written)):
        raise ValueError("`{mapping}` is the only field that a URL may have")
    return written


def template(value: object, more: Sequence[str] = ()) -> str:
    """Text with fields."""
    written = text(value, "text with fields such as `{mapping}`")
    known = (*FIELDS, *more)
    for name in fields_in(written):
        if name not in known:
            called = f"there is no field `{{{name}}}`" if is_name(name) else "there is no such field"
            near = nearest(name, known)
            raise ValueError(f"{called}; did you mean `{{{near}}}`?" if near else f"{called}; expected {one_of(known)}")
    return written


def body(value: object) -> dict[str, Json]:
    """JSON with fields in its texts."""
    if not isinstance(value, dict) or not value:
        raise ValueError('expected keys and values, such as `{summary: "{text}"}`')
    for each in texts_in(value):
        template(each, (TEXT,))
    return value


def _split(written: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(written)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        complete = None
    if not complete or re.search(r"[\s\x00-\x1f\\]", written):
        raise ValueError(f"expected {expected}")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
