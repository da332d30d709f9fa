"""When to stop instead of filling the dead letters. Pure."""

from __future__ import annotations

#: fewer rejections than this are never a reason to stop
_FLOOR = 30
#: stop when rejections outnumber the rest by more than this
_SHARE = 9
#: rows after which it is decided; a shorter run is judged at its end
_SAMPLE = 1_000


def judgeable(rejected: int, fine: int) -> bool:
    """Whether it can be judged before the end: a few bad rows at the front say nothing yet."""
    return rejected == 0 or rejected + fine >= _SAMPLE


def blown(rejected: int, fine: int) -> bool:
    """Whether nearly everything is rejected: at least 30, and more than nine in ten."""
    return rejected >= _FLOOR and rejected > _SHARE * fine
