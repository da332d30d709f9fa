"""Reading SQL text just well enough to wrap it safely. Pure; it knows quotes and comments, not grammar.

A query is used as `SELECT ... FROM (query) q`, so it must be one statement that returns rows, end where its
text ends, and hold no LIMIT of its own: rows cut off by one would never be read by a later run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NoReturn

from syncer.errors import MappingError

#: stands in a query for the point the run reads from
PLACEHOLDER = "watermark"

_FIRST_WORDS = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_OPENING = "'\"`["


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexis:
    """What quotes and comments mean, where the databases differ."""

    #: whether a backslash escapes a quote: in every string (MySQL), in E'' strings only (PostgreSQL), never
    backslashes: Literal["always", "prefixed", "never"] = "prefixed"
    #: `[name]` is an identifier (SQL Server, SQLite), not a subscript
    brackets: bool = False
    #: `$tag$text$tag$` is a string (PostgreSQL)
    dollars: bool = True
    #: `#` begins a comment (MySQL), and `--` only does before a blank
    hashes: bool = False
    #: `/* /* */ */` is one comment
    nested_comments: bool = True


_LEXES = {
    "postgresql": Lexis(),
    "mysql": Lexis(backslashes="always", dollars=False, hashes=True, nested_comments=False),
    "mariadb": Lexis(backslashes="always", dollars=False, hashes=True, nested_comments=False),
    "sqlite": Lexis(backslashes="never", brackets=True, dollars=False, nested_comments=False),
    "mssql": Lexis(backslashes="never", brackets=True, dollars=False),
    "oracle": Lexis(backslashes="never", dollars=False, nested_comments=False),
    "bigquery": Lexis(backslashes="always", dollars=False, hashes=True, nested_comments=False),
    "snowflake": Lexis(backslashes="always", nested_comments=False),
}


def lexis_of(backend: str) -> Lexis:
    """The lexis of a database by the name SQLAlchemy URLs begin with; PostgreSQL's for unknown ones."""
    return _LEXES.get(backend, Lexis())


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuery:
    """One statement that can be wrapped. Escaped for `sqlalchemy.text`: no colon in it is a bind."""

    #: the text between the `:watermark` placeholders; one part when there is none
    parts: tuple[str, ...]
    #: whether a `>` leaves out the rows at the watermark itself
    strict: bool = False

    @property
    def places_watermark(self) -> bool:
        """Whether the query says itself where the watermark goes."""
        return len(self.parts) > 1

    def render(self, watermark: str = "NULL") -> str:
        """The statement with this SQL expression in the place of every `:watermark`."""
        return watermark.join(self.parts)


def escape(sql: str) -> str:
    """SQL as `sqlalchemy.text` takes it without seeing a bind in it."""
    return sql.replace(":", "\\:")


@dataclass(frozen=True, slots=True)
class _Token:
    sort: Literal["word", "number", "quoted", "placeholder", "mark"]
    text: str
    start: int
    end: int


def prepare(query: str, lexis: Lexis | None = None) -> PreparedQuery:
    """Check a mapping's query and find its placeholders.

    Raises:
        MappingError: it is not one row-returning statement, has its own LIMIT, or names an unknown bind.
    """
    if "\0" in query:
        raise MappingError("the query contains a NUL character", "remove it: SQL text cannot hold one")
    tokens = list(_tokens(query, lexis or Lexis()))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise MappingError("the query is empty", "write a SELECT statement")
    _check_one_statement(tokens)
    _check_balance(tokens)
    _check_begins_well(tokens)
    _check_no_limit(_without_outer_parentheses(tokens))
    _check_no_arithmetic(tokens)
    return PreparedQuery(parts=tuple(_parts(query, tokens)), strict=_is_strict(tokens))


def _parts(query: str, tokens: list[_Token]) -> Iterator[str]:
    start = 0
    for token in tokens:
        if token.sort == "placeholder":
            yield escape(query[start : token.start])
            start = token.end
    yield escape(query[start : tokens[-1].end])


def _check_one_statement(tokens: list[_Token]) -> None:
    if any(token.text == ";" for token in tokens):
        raise MappingError("the query holds several statements", "write one mapping per statement")


def _check_balance(tokens: list[_Token]) -> None:
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            break
    if depth != 0:
        raise MappingError("the parentheses of the query do not match", "count its ( and )")


def _check_begins_well(tokens: list[_Token]) -> None:
    first = next((token for token in tokens if token.text != "("), tokens[0])
    if first.sort != "word" or first.text.upper() not in _FIRST_WORDS:
        raise MappingError(
            f"the query does not begin with SELECT, WITH, VALUES or TABLE, but with {first.text[:20]!r}",
            "syncer only reads: write a statement that returns rows",
        )


def _without_outer_parentheses(tokens: list[_Token]) -> list[_Token]:
    while tokens[0].text == "(" and _closing(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closing(tokens: list[_Token]) -> int:
    """Where the parenthesis that opens the list closes."""
    depth = 0
    for position, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return position
    return -1


def _check_no_limit(tokens: list[_Token]) -> None:
    depth = 0
    for position, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.sort == "word" and _limits(tokens, position):
            raise MappingError(
                f"the query has its own {token.text.upper()}: rows beyond it would never be sent",
                "say which rows with WHERE, or try a few with `syncer run --limit 10`",
            )


#: functions that leave the watermark what it is
_WRAPPERS = frozenset({"CAST", "COALESCE", "IFNULL", "NVL", "CONVERT", "TIMESTAMP", "DATE"})
_ARITHMETIC = frozenset("+-*/")


def _check_no_arithmetic(tokens: list[_Token]) -> None:
    for place in _placeholders(tokens):
        after = place + 1
        while _text(tokens, after) == ")":
            after += 1
        function = _text(tokens, place - 2) if _text(tokens, place - 1) == "(" else ""
        argument = _text(tokens, place + 1) == "," and function not in _WRAPPERS
        if argument or _text(tokens, after) in _ARITHMETIC:
            raise MappingError(
                "the query computes with :watermark, but a first run has no watermark to compute with",
                "write `>= :watermark`, and how far to read back as `lookback: 1h`",
            )


def _is_strict(tokens: list[_Token]) -> bool:
    """Whether `x > :watermark` or `:watermark < x` stands there, or `NOT x <= :watermark`."""
    return any(_strict_before(tokens, place) or _strict_after(tokens, place) for place in _placeholders(tokens))


def _strict_before(tokens: list[_Token], place: int) -> bool:
    before = place - 1
    while _text(tokens, before) == "(" or _text(tokens, before) in _WRAPPERS:
        before -= 1
    marks = _text(tokens, before - 1) + _text(tokens, before)
    if any(_text(tokens, each) == "NOT" for each in range(before - 5, before)):
        return marks == "<="
    return marks.endswith(">") and marks != "<>"


def _strict_after(tokens: list[_Token], place: int) -> bool:
    after = place + 1
    while _text(tokens, after) == ")":
        after += 1
    return _text(tokens, after) == "<" and _text(tokens, after + 1) not in {"=", ">"}


def _placeholders(tokens: list[_Token]) -> list[int]:
    return [place for place, token in enumerate(tokens) if token.sort == "placeholder"]


def _text(tokens: list[_Token], place: int) -> str:
    return tokens[place].text.upper() if 0 <= place < len(tokens) else ""


def _limits(tokens: list[_Token], position: int) -> bool:
    """Whether the word there cuts rows off, and is not a name.

    LIMIT and OFFSET always do, but for `x.limit`, `AS limit` and BigQuery's `WITH OFFSET`; FETCH before FIRST
    or NEXT; TOP after SELECT, DISTINCT or ALL and before a number or a parenthesis.
    """
    before = tokens[position - 1].text.upper() if position else ""
    after = tokens[position + 1] if position + 1 < len(tokens) else None
    match tokens[position].text.upper():
        case "LIMIT" | "OFFSET":
            return after is not None and before not in {".", "AS", "WITH"}
        case "FETCH":
            return after is not None and after.text.upper() in {"FIRST", "NEXT"}
        case "TOP":
            numbered = after is not None and (after.sort == "number" or after.text == "(")
            return numbered and before in {"SELECT", "DISTINCT", "ALL"}
    return False


def _tokens(query: str, lexis: Lexis) -> Iterator[_Token]:
    pattern, position, subscripts = _pattern(lexis), 0, 0
    while position < len(query):
        if query.startswith("/*", position):
            position = _comment_end(query, position, lexis)
            continue
        found = pattern.match(query, position)
        assert found is not None  # the last alternative takes any character
        sort, text = found.lastgroup, found.group()
        position = found.end()
        subscripts += {"[": 1, "]": -1}.get(text, 0)
        match sort:
            case "skip":
                continue
            case "bind":
                yield _bind(found, subscripts)
            case "word" | "number" | "quoted":
                yield _Token(sort, text, found.start(), position)
            case _:
                _check_closed(text, lexis)
                yield _Token("mark", text, found.start(), position)


def _bind(found: re.Match[str], subscripts: int) -> _Token:
    name = found.group()[1:]
    if name == PLACEHOLDER:
        return _Token("placeholder", found.group(), found.start(), found.end())
    if subscripts > 0:  # an array slice such as tags[a:b]
        return _Token("mark", found.group(), found.start(), found.end())
    raise MappingError(
        f"the query has a bind :{name}, and only :{PLACEHOLDER} is known",
        f"write the value itself, or :{PLACEHOLDER} where the watermark goes",
    )


def _check_closed(text: str, lexis: Lexis) -> None:
    if text in _OPENING and (text != "[" or lexis.brackets):
        _unclosed(f"quote {text}")


def _comment_end(query: str, start: int, lexis: Lexis) -> int:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(query, start):
        # `/*/` opens a comment and does not close it: finditer has passed its star.
        depth = max(depth, 0) + 1 if mark.group() == "/*" else depth - 1
        if depth == 0 or (mark.group() == "*/" and not lexis.nested_comments):
            return mark.end()
    return _unclosed("comment /*")


def _unclosed(what: str) -> NoReturn:
    raise MappingError(f"the query has an unclosed {what}", "close it")


@cache
def _pattern(lexis: Lexis) -> re.Pattern[str]:
    """One alternative per sort of token; the possessive `*+` keeps hostile text from exponential time."""
    escaping = r"(?:[^'\\]|\\.|'')*+"
    plain = escaping if lexis.backslashes == "always" else r"(?:[^']|'')*+"
    double = r'"(?:[^"\\]|\\.|"")*+"' if lexis.backslashes == "always" else r'"(?:[^"]|"")*+"'
    quoted = [f"'{plain}'", double, "`(?:[^`]|``)*+`"]
    if lexis.backslashes == "prefixed":
        quoted.insert(0, f"[eE]'{escaping}'")
    if lexis.brackets:
        quoted.append(r"\[(?:[^\]]|\]\])*+\]")
    if lexis.dollars:
        quoted.append(r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$")
    comment = r"--(?=\s|$)[^\n]*|\#[^\n]*" if lexis.hashes else r"--[^\n]*"
    return re.compile(
        rf"(?P<skip>\s+|{comment})"
        rf"|(?P<quoted>{'|'.join(quoted)})"
        r"|(?P<word>[^\W\d][\w$]*)"
        r"|(?P<number>\d[\w.]*)"
        r"|(?P<bind>(?<![\w:$\"\]]):(?=[^\W\d])\w+)"
        r"|(?P<mark>::|:=|.)",
        re.DOTALL,
    )
