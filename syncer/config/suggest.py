"""What names and types in a database suggest for a mapping: its key, watermark, names and properties. Pure guesses.

A guess that is wrong must be harmless: what is written into the config as active keys is safe for every table, and
all else becomes a comment.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from syncer.config.document import is_usable
from syncer.config.quoting import quoted
from syncer.config.surveyed import SurveyedColumn, SurveyedTable
from syncer.core.model import Kind
from syncer.core.naming import RESERVED_PROPERTIES, snake_case

#: names that tell when a row last changed, without their underscores, the best first
_CHANGED = (
    "updatedat", "modifiedat", "changedat", "lastmodifiedat", "lastmodified", "lastupdatedat", "lastupdated",
    "lastupdate", "lastchanged", "updatedon", "modifiedon", "changedon", "lastmodifiedon", "lastupdatedon", "updated",
    "modified", "changed", "updatetime", "updatedtime", "modifiedtime", "lastupdatetime", "lastmodifiedtime", "mtime",
    "updatedate", "updateddate", "modifieddate", "lastmodifieddate", "lastupdatedate", "modificationdate",
    "dateupdated", "datemodified", "timeupdated", "timemodified", "gmtmodified", "systemmodstamp", "lastmod",
    "writedate", "sysupdatedon", "editedat", "lastedited", "lasteditedat", "updatedts", "updatets", "tsupdated",
)  # fmt: skip
#: numbers that grow with changes, in some databases over the whole table and in others row by row
_VERSIONS = (
    "rowversion", "xmin", "rowver", "rowscn", "changeseq", "changeid", "updateseq", "syncversion", "version",
    "lockversion",
)  # fmt: skip
#: names that tell when a row came to be, and nothing of later changes
_CREATED = (
    "createdat", "created", "createdon", "createdate", "createddate", "creationdate", "datecreated", "insertedat",
    "createtime", "createdtime", "addedat", "dateadded", "ctime",
)  # fmt: skip
_TIMES = frozenset({Kind.TIMESTAMP, Kind.INSTANT, Kind.DATE})
_NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL})
#: could be times as well as flags, unless their type tells
_BARE = frozenset({"updated", "modified", "changed", "lastedited", "lastmod"})
#: how times are also kept where a column's type promises nothing
_UNTYPED_TIMES = frozenset({Kind.TEXT, Kind.ANY})
#: kinds whose values can be secrets
_WORDY = frozenset({Kind.TEXT, Kind.ANY, Kind.BYTES, Kind.JSON, Kind.BITS})

#: whole words of a snake_case name, parted with underscores
_SECRET = re.compile(
    r"_(?:[a-z0-9]*passw(?:or)?d\w*|pwd|passphrase|passcode|pass_hash|secrets?|credentials?|salt|otp|totp|mfa|cvv2?|cvc|"
    r"(?:access|refresh|auth|api|session|reset|bearer)?tokens?|(?:encrypted|hashed)_pass|card_?number|"
    r"(?:api|private|secret|access|auth|session|encryption|signing|license)_?keys?)_"
)
_PERSONAL = re.compile(
    r"_(?:e_?mails?|mail|phones?|telephone|tel|mobile|cell|fax|ssn|social_security\w*|passport\w*|national_id|tax_id|"
    r"vat_id|iban|bic|account_number|dob|birth\w*|date_of_birth|(?:first|last|full|sur|middle|maiden|given|family)_?"
    r"name|surname|address\w*|street\w*|post_?code|postal_?code|zip|zip_?code|ip|ip_addr\w*|latitude|longitude|"
    r"gender|sex|religion|ethnicity|nationality|driver_?licen[sc]e\w*)_"
)
_PERSONAL_KINDS = _WORDY | {Kind.DATE}

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: room for a suffix below the limits of 100 (names) and 128 (properties) characters
_LONGEST = 80
#: a key in YAML has at most 1,024 characters, as it is written
_LONGEST_KEY = 1_000
#: numbers are looked for again this far behind the last run
INTEGER_LOOKBACK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedWatermark:
    """A column that tells which rows changed, or may."""

    column: SurveyedColumn
    #: None: the database does not tell
    indexed: bool | None
    #: why it is no more than a proposal; None: it can be used as it is
    doubt: str | None = None

    @property
    def lookback(self) -> int | None:
        """To be written for numbers, which have no lookback of their own."""
        return INTEGER_LOOKBACK if self.column.kind in _NUMBERS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedProperty:
    """What to change about one column's property."""

    column: str
    drop: bool = False
    rename: str | None = None
    #: what is worth a thought, as a comment: `mask: hash` for what looks personal, `drop: true` for bytes
    proposal: str | None = None
    why: str = ""


def key_of(table: SurveyedTable) -> tuple[str, ...]:
    """The columns whose values can be the object's id: the primary key, or the shortest unique key without NULLs.

    Empty when there is none, and when `SELECT *` does not return a part of it.
    """
    there = {each.name for each in table.columns}
    filled = {each.name for each in table.columns if not each.nullable}
    if table.primary_key and there.issuperset(table.primary_key):
        return table.primary_key
    fit = [columns for columns in table.unique if columns and filled.issuperset(columns)]
    return min(fit, key=lambda columns: (len(columns), columns), default=())


def obstacle(table: SurveyedTable, key: Sequence[str]) -> str | None:
    """Why the table cannot be mapped as it stands; None when it can.

    1. Names that no file holds, and schemas that `table` cannot name.
    2. Views and tables without a key.
    3. Tables that may not be read.
    4. A key that is a secret: ids are sent.
    5. Nothing to send: an object without properties is refused.
    """
    if not all(map(_can_be_written, (table.name, table.path, *(each.name for each in table.columns)))):
        return "a name in it is empty, very long, or not Unicode text; give it another one in a view"
    if table.schema is not None and "." in table.schema:
        return "the schema's name holds a dot; write a `query` instead of `table`"
    if table.view:
        return "a view has no key of its own; name the columns that identify a row"
    if not key:
        return "no primary key, and no unique one without NULLs; name the columns that identify a row"
    if not table.readable:
        return "this user may not read it; grant SELECT on it first"
    if any(is_secret(each) for each in table.columns if each.name in key):
        return "its key looks secret, and would be the objects' id; name another one"
    dropped = {each.column for each in property_changes(table, key) if each.drop}
    sent = [each for each in table.columns if each.name not in dropped and not _is_id(each, key)]
    return None if sent else "it holds nothing to send beside its key"


def _can_be_written(name: str) -> bool:
    return name != "" and is_usable(name) and len(quoted(name)) <= _LONGEST_KEY


# --- watermarks -------------------------------------------------------------------------------------------------------


def watermarks(table: SurveyedTable, *, typed: bool) -> tuple[SuggestedWatermark, ...]:
    """Columns that may be the watermark, the best first; those that are in doubt come last.

    A type of time is better than numbers or text, NOT NULL better than NULL, an index better than none, and then the
    order of the usual names decides.

    Args:
        typed: see `Survey.typed`.
    """
    fit = _TIMES | {Kind.INTEGER} | (frozenset() if typed else _UNTYPED_TIMES | _NUMBERS)
    known = [each for each in table.columns if is_usable(each.name)]
    changed = [each for each in known if _plain(each.name) in _CHANGED and each.kind in fit]
    changed.sort(key=lambda each: _rank(table, each))
    return (
        *(_suggested(table, each) for each in changed if not _may_be_flag(each)),
        *(_suggested(table, each, "only if it holds times") for each in changed if _may_be_flag(each)),
        *(
            _suggested(table, each, "only if it counts changes of the whole table, not of each row")
            for each in known
            if _plain(each.name) in _VERSIONS and each.kind in _NUMBERS
        ),
        *(
            _suggested(table, each, "finds new rows only, not changes")
            for each in known
            if _plain(each.name) in _CREATED and each.kind in fit
        ),
    )


def _may_be_flag(column: SurveyedColumn) -> bool:
    return column.kind not in _TIMES and _plain(column.name) in _BARE


def _rank(table: SurveyedTable, column: SurveyedColumn) -> tuple[bool, bool, bool, int]:
    indexed = column.name in (table.indexed or ())
    return column.kind not in _TIMES, column.nullable, not indexed, _CHANGED.index(_plain(column.name))


def _suggested(table: SurveyedTable, column: SurveyedColumn, doubt: str | None = None) -> SuggestedWatermark:
    indexed = None if table.indexed is None else column.name in table.indexed
    return SuggestedWatermark(column=column, indexed=indexed, doubt=doubt)


def _plain(name: str) -> str:
    return snake_case(name).replace("_", "")


# --- properties -------------------------------------------------------------------------------------------------------


def is_secret(column: SurveyedColumn) -> bool:
    """Whether a column holds passwords, tokens or the like, by its name; times and numbers about them are none."""
    return column.kind in _WORDY and _SECRET.search(f"_{snake_case(column.name)}_") is not None


def is_personal(column: SurveyedColumn) -> bool:
    """Whether a column seems to tell something about a person."""
    return column.kind in _PERSONAL_KINDS and _PERSONAL.search(f"_{snake_case(column.name)}_") is not None


def property_changes(table: SurveyedTable, key: Sequence[str]) -> list[SuggestedProperty]:
    """What has to be changed about properties, in the order of the columns, and what should be looked at.

    1. The key column that becomes `id` is no property.
    2. Secrets are dropped.
    3. Names that the warehouse keeps for itself, and columns without letter or digit, get another name.
    4. Of columns that become the same property, one keeps the name: the one that is spelled so, else the first.
    """
    groups: dict[str, list[SurveyedColumn]] = defaultdict(list)
    for column in table.columns:
        if not _is_id(column, key):
            groups[snake_case(column.name)].append(column)
    keepers = {name: next((each for each in group if each.name == name), group[0]) for name, group in groups.items()}
    taken = {*groups, *RESERVED_PROPERTIES}
    found: list[SuggestedProperty] = []
    for column in table.columns:
        name = snake_case(column.name)
        if _is_id(column, key):
            continue
        if is_secret(column):
            found.append(SuggestedProperty(column=column.name, drop=True, why="looks secret"))
        elif name in RESERVED_PROPERTIES or not name:
            wanted = f"row_{name}" if name else "column"
            why = "the warehouse keeps this name for itself" if name else "no letter or digit"
            found.append(_renamed(column, wanted, taken, why))
        elif keepers[name] is not column:
            found.append(_renamed(column, slug(column.name), taken, f"column {keepers[name].name} is {name} already"))
        elif is_personal(column):
            found.append(SuggestedProperty(column=column.name, proposal="mask: hash", why="looks personal"))
        elif column.kind is Kind.BYTES and column.name not in key:
            why = "bytes go as base64; a row with 32 KB or more of it is refused"
            found.append(SuggestedProperty(column=column.name, proposal="drop: true", why=why))
    return [*_spared(table, key, found), *found]


def _is_id(column: SurveyedColumn, key: Sequence[str]) -> bool:
    return column.name in key and snake_case(column.name) == "id"


def _renamed(column: SurveyedColumn, wanted: str, taken: set[str], why: str) -> SuggestedProperty:
    name = distinct(wanted if wanted[:1].isalpha() else f"column_{wanted}".rstrip("_"), taken)
    taken.add(name)
    proposal = "mask: hash" if is_personal(column) else None
    return SuggestedProperty(column=column.name, rename=name, proposal=proposal, why=why)


def _spared(
    table: SurveyedTable, key: Sequence[str], found: Sequence[SuggestedProperty]
) -> Iterator[SuggestedProperty]:
    """A key column `ID` beside a column `id` that is renamed: a rule named `id` would be taken for the key's."""
    if any(each.column == "id" for each in found):
        for column in table.columns:
            if _is_id(column, key):
                yield SuggestedProperty(column=column.name, rename="id", why="the id")


# --- names ------------------------------------------------------------------------------------------------------------


def slug(name: str) -> str:
    """A name in snake_case of a to z and digits; accents go, other scripts go altogether. May be empty.

    >>> [slug(each) for each in ("InvoiceLine", "Zimmer-Übersicht 2", "部屋")]
    ['invoice_line', 'zimmer_ubersicht_2', '']
    """
    letters = unicodedata.normalize("NFKD", snake_case(name)).casefold()
    plain = re.sub(r"[^a-z0-9_]", "", "".join(_ascii_digit(each) for each in letters))
    return re.sub(r"_+", "_", plain)[:_LONGEST].strip("_")


def _ascii_digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(int(value))


def collection_name(name: str) -> str:
    """A slug as a collection: digits, which the API refuses, are spelled out.

    >>> collection_name("address2")
    'address_two'
    """
    spelled = re.sub(r"[0-9]", lambda digit: f"_{_DIGITS[int(digit[0])]}_", name)
    return re.sub(r"_+", "_", spelled).strip("_")[:_LONGEST].strip("_") or "table"


def distinct(wanted: str, taken: Collection[str]) -> str:
    """The name, with a number behind it if it is taken."""
    numbered = (f"{wanted}_{number}" for number in count(2))
    return wanted if wanted not in taken else next(each for each in numbered if each not in taken)


def distinct_collection(wanted: str, taken: Collection[str]) -> str:
    """The name, with a number in letters behind it if it is taken: `rooms`, `rooms_two`, `rooms_three`."""
    numbered = (f"{wanted}_{collection_name(str(number))}" for number in count(2))
    return wanted if wanted not in taken else next(each for each in numbered if each not in taken)
