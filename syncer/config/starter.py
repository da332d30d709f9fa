"""The starter config that `syncer init` writes: a survey in, YAML text out. Pure; the guesses are in `suggest`.

The text is laid out by hand, because half of it is comments. Every name from the database passes `quoted`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from syncer.config.quoting import printable, quoted, valued
from syncer.config.suggest import (
    SuggestedProperty,
    SuggestedWatermark,
    collection_name,
    distinct,
    distinct_collection,
    is_personal,
    key_of,
    obstacle,
    property_changes,
    slug,
    watermarks,
)
from syncer.config.surveyed import Survey, SurveyedTable
from syncer.core.model import Kind

#: where comments stand, when what is before them leaves room
_COMMENTS_AT = 43

_HEAD = """\
# {count} of {url}, as `syncer init` found them.
# Take out what is not wanted, look at the comments, then: syncer check. All other keys: config.example.yaml
#
# watermark   not indexed: every incremental run reads the whole table. May be NULL: such rows are read every time
# properties  `drop: true` sends nothing of a column, `mask: hash` a digest of each value
# cron        in UTC, unless `timezone: America/New_York` or the like is written beside it

version: 1

sources:
  app:
    url: ${{APP_DATABASE_URL}}               # from the environment or a file .env beside this one
                                           # {url}
    timezone: UTC                          # zone of timestamps that the database stores without one

destination:
  write_key: ${{SEGMENT_WRITE_KEY}}          # from the Segment source's Settings > API Keys
  region: oregon                           # or dublin: where the workspace stores its data
  endpoint: ${{SEGMENT_ENDPOINT:-}}          # empty: the region's; or that of `syncer sandbox`

state:
  url: sqlite:///syncer.db                 # beside this file; PostgreSQL when syncer runs on several hosts

mappings:
"""
_REST = "\n  # --- not mapped, each with the reason; to map one, mend that and remove the `# ` ---\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """The text of a starter config, and what is in it."""

    text: str
    #: names of the mappings
    mapped: tuple[str, ...]
    #: how many tables and views are commented out
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A table on its way to a mapping."""

    table: SurveyedTable
    key: tuple[str, ...]
    obstacle: str | None
    name: str = ""
    collection: str = ""
    #: its place among the mappings
    number: int = 0


def starter(survey: Survey) -> Starter:
    """Write a config with a mapping for every table that can have one, and the others as comments."""
    shadowed = {each.name for each in survey.tables if each.schema is None}
    entries = [_entry(table, shadowed) for table in survey.tables]
    entries.sort(key=lambda each: each.obstacle is not None)
    named = _named(entries)
    mapped = [each for each in named if each.obstacle is None]
    left_out = named[len(mapped) :]
    blocks = ["\n".join(_mapping(each, typed=survey.typed)) for each in mapped]
    text = _HEAD.format(count=_counted(survey.tables), url=printable(survey.url)) + "\n\n".join(blocks) + "\n"
    if left_out:
        text += _REST + "\n".join("\n".join(_commented(each)) for each in left_out) + "\n"
    if survey.other_schemas:
        others = ", ".join(map(quoted, survey.other_schemas))
        text += f"\n# Other schemas, which `syncer init --schema NAME` looks at: {others}\n"
    return Starter(text=text, mapped=tuple(each.name for each in mapped), left_out=len(left_out))


def _counted(tables: Sequence[SurveyedTable]) -> str:
    views = sum(each.view for each in tables)
    told = [f"{number:,} {word}{'s' if number != 1 else ''}" for number, word in (
        (len(tables) - views, "table"), (views, "view")) if number]  # fmt: skip
    return " and ".join(told)


def _entry(table: SurveyedTable, shadowed: set[str]) -> _Entry:
    key = key_of(table)
    reason = obstacle(table, key)
    if table.schema is not None and table.path in shadowed:
        reason = "another table has this name with the dot in it; write a `query` instead of `table`"
    return _Entry(table=table, key=key, obstacle=reason)


def _named(entries: Sequence[_Entry]) -> list[_Entry]:
    """With names and collections of their own. Tables that are spelled as their collection come before the others."""
    names: set[str] = set()
    collections: set[str] = set()
    chosen: dict[int, _Entry] = {}
    places = sorted(range(len(entries)), key=lambda place: not _keeps_its_name(entries[place].table))
    for place in places:
        entry = entries[place]
        wanted = slug(entry.table.path) or "table"
        name = distinct(wanted, names)
        collection = distinct_collection(collection_name(wanted), collections)
        names.add(name)
        collections.add(collection)
        chosen[place] = replace(entry, name=name, collection=collection, number=place)
    return [chosen[place] for place in range(len(entries))]


def _keeps_its_name(table: SurveyedTable) -> bool:
    return collection_name(slug(table.path)) == table.path


# --- mappings ---------------------------------------------------------------------------------------------------------


def _mapping(entry: _Entry, *, typed: bool) -> Iterator[str]:
    table = entry.table
    yield _line(f"  {quoted(entry.name)}:", f"about {table.rows:,} rows" if table.rows else "")
    yield f"    table: {valued(table.path)}"
    yield from _collection(entry)
    yield _line(f"    primary_key: {_key(entry.key)}", _about_key(entry))
    suggested = watermarks(table, typed=typed)
    yield from _watermark(suggested)
    yield from _schedules(entry.number, incremental=any(each.doubt is None for each in suggested))
    yield from _properties(property_changes(table, entry.key))


def _collection(entry: _Entry) -> Iterator[str]:
    if entry.collection == entry.table.path == entry.name:
        return
    expected = collection_name(slug(entry.table.path))
    why = "lowercase letters and _ only" if entry.collection == expected else f"{expected} is taken"
    yield _line(f"    collection: {quoted(entry.collection)}", why)


def _key(key: Sequence[str]) -> str:
    return valued(key[0]) if len(key) == 1 else f"[{', '.join(map(valued, key))}]"


def _about_key(entry: _Entry) -> str:
    told = [] if entry.key == entry.table.primary_key else ["a unique index, for want of a primary key"]
    told += [f"{each.name} looks personal, and is in the id" for each in entry.table.columns
             if each.name in entry.key and is_personal(each)]  # fmt: skip
    return "; ".join(told)


def _watermark(suggested: Sequence[SuggestedWatermark]) -> Iterator[str]:
    """The best one as a key, the next ones as comments."""
    best = next((each for each in suggested if each.doubt is None), None)
    if best is not None:
        yield _line(f"    watermark: {_watermark_value(best)}", _about_watermark(best))
    for each in suggested:
        if each is not best:
            about = each.doubt or f"or this: {_about_watermark(each)}"
            yield _line(f"    # watermark: {_watermark_value(each)}", about)


def _watermark_value(suggested: SuggestedWatermark) -> str:
    column = valued(suggested.column.name)
    return f"{{column: {column}, lookback: {suggested.lookback}}}" if suggested.lookback is not None else column


def _about_watermark(suggested: SuggestedWatermark) -> str:
    indexed = {True: ["indexed"], False: ["not indexed"], None: []}[suggested.indexed]
    nulls = "may be NULL" if suggested.column.nullable else "never NULL"
    numbers = ["numbers so far behind are read again"] if suggested.lookback is not None else []
    texts = ["text, which must sort as it grows"] if suggested.column.kind is Kind.TEXT else []
    return ", ".join([*indexed, nulls, *numbers, *texts])


def _schedules(number: int, *, incremental: bool) -> Iterator[str]:
    """Minutes seven apart, so that the next sixty mappings begin at another one; full runs half an hour later."""
    minute = number * 7 % 60
    yield _line("    schedules:", "" if incremental else "no watermark: every run reads all of it")
    if incremental:
        yield f'      - {{cron: "{minute} * * * *", mode: incremental}}'
    yield f'      - {{cron: "{(minute + 30) % 60} {1 + number // 60 % 5} * * *", mode: full}}'


def _properties(changes: Sequence[SuggestedProperty]) -> Iterator[str]:
    """Drops and renames as keys, proposals as comments; with nothing but those, the key above them is one too."""
    active = [each for each in changes if each.drop or each.rename is not None]
    if not changes:
        return
    yield "    properties:" if active else "    # properties:"
    for each in changes:
        name = quoted(each.column)
        if each.drop:
            yield _line(f"      {name}: {{drop: true}}", each.why)
        elif each.rename is not None:
            more = f"; perhaps add {each.proposal}" if each.proposal else ""
            yield _line(f"      {name}: {{rename: {each.rename}}}", each.why + more)
        else:
            yield _line(f"{'      # ' if active else '    #   '}{name}: {{{each.proposal}}}", each.why)


def _commented(entry: _Entry) -> Iterator[str]:
    """A table that cannot be mapped as it stands, ready to be."""
    table = entry.table
    columns = [each.name for each in table.columns]
    guess = entry.key or (("id",) if table.view or "id" in columns else tuple(columns[:1]) or ("id",))
    yield _line(f"  # {quoted(entry.name)}:", str(entry.obstacle))
    yield f"  #   table: {valued(table.path)}"
    yield f"  #   collection: {quoted(entry.collection)}"
    yield f"  #   primary_key: {_key(guess)}"


def _line(code: str, comment: str) -> str:
    return f"{code.ljust(_COMMENTS_AT - 1)} # {printable(comment)}" if comment else code
