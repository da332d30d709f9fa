"""Naming what the person probably meant. Only names come through here, never values that could be secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: what can be printed: a misplaced secret rarely passes for a short name, and a URL never does
_NAME = re.compile(r"[\w.-]{1,100}")

#: comparing takes the square of the length
_LONGEST = 100

#: longer lists of choices help nobody
_MOST = 20


def is_name(text: str) -> bool:
    """Whether the text is short and plain enough to repeat to a person."""
    return _NAME.fullmatch(text) is not None


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name most like this one, None when none is alike."""
    import difflib  # only needed when something is wrong

    if len(name) > _LONGEST:
        return None
    by_lower = {each.lower(): each for each in valid}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Say `; did you mean ...?`, or list what is valid, or nothing when there is too much of it."""
    choices = list(valid)
    found = nearest(name, choices)
    if found is not None:
        return f"; did you mean `{found}`?"
    return f"; expected {one_of(choices)}" if 0 < len(choices) <= _MOST else ""


def one_of(choices: Iterable[str]) -> str:
    """List choices for a sentence: `a`, `b` or `c`."""
    quoted = [f"`{each}`" for each in choices]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
