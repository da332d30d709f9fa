"""Which mappings the command line means. Nothing else reads `--select` and `--exclude`."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.config.nearest import suggestion
from syncer.config.values import Config
from syncer.core.model import CollectionMapping
from syncer.errors import UsageError

_TAG = "tag:"


def select_mappings(config: Config, select: Sequence[str], exclude: Sequence[str]) -> tuple[CollectionMapping, ...]:
    """Mappings that a term of `select` names (all without one) and no term of `exclude`, in file order.

    A term is a mapping's name or `tag:T`.

    Raises:
        UsageError: a term that names nothing, or nothing left.
    """
    wanted = _named(config, select) if select else set(config.mappings)
    chosen = wanted - _named(config, exclude)
    if not chosen:
        raise UsageError("--exclude leaves no mapping of those selected", "exclude less, or select more")
    return tuple(mapping for name, mapping in config.mappings.items() if name in chosen)


def _named(config: Config, terms: Sequence[str]) -> set[str]:
    return {name for term in terms for name in _matches(config, term)}


def _matches(config: Config, term: str) -> set[str]:
    if not term.startswith(_TAG):
        if term not in config.mappings:
            raise UsageError(f"there is no mapping `{term}`{suggestion(term, config.mappings)}")
        return {term}
    tag = term.removeprefix(_TAG)
    found = {name for name, mapping in config.mappings.items() if tag in mapping.tags}
    if not found:
        tags = dict.fromkeys(each for mapping in config.mappings.values() for each in mapping.tags)
        raise UsageError(f"no mapping has the tag `{tag}`{suggestion(tag, tags)}")
    return found
