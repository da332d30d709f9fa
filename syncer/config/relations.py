"""What takes more than one key to tell, on the plain content of the file, so that a wrong type hides nothing else.

Types are not checked here: where one is wrong, the rule that needs it is passed over, and the model tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from syncer.config.document import Tree
from syncer.config.findings import Findings
from syncer.config.nearest import one_of, suggestion
from syncer.config.paths import KeyPath
from syncer.config.scalars import NAME, NAME_RULE, clock_time, timezone, weekdays
from syncer.core.blackouts import leaves_time
from syncer.core.model import Blackout
from syncer.core.naming import collection_problem
from syncer.core.order import circle

Entries: TypeAlias = dict[str, Tree]

QUERIES = ("query", "query_file", "table")


def inherit(content: Entries) -> Entries:
    """Merge `defaults` under every mapping; `properties` one property at a time, so that no default mask is lost.

    Then leave out what has no value. A name without keys stays, so that it can be told what it lacks.
    """
    defaults = content.get("defaults")
    mappings = content.get("mappings")
    if isinstance(mappings, dict):
        base = defaults if isinstance(defaults, dict) else {}
        content = content | {"mappings": {name: _over(base, keys) for name, keys in mappings.items()}}
    return {key: _pruned(value, (key,)) for key, value in content.items() if value is not None}


def _over(base: Entries, keys: Tree) -> Tree:
    if keys is None:
        return dict(base)
    if not isinstance(keys, dict):
        return keys
    merged = base | keys
    inherited, own = base.get("properties"), keys.get("properties")
    if isinstance(inherited, dict) and isinstance(own, dict):
        merged["properties"] = inherited | own
    return merged


def _pruned(tree: Tree, path: KeyPath) -> Tree:
    if isinstance(tree, list):
        return [_pruned(each, (*path, position)) for position, each in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if path[-2:-1] == ("properties",) and "retired" in tree:
        # null is its value, not the want of one
        return {**_entries(tree, path), "retired": _pruned(tree["retired"], (*path, "retired"))}
    return _entries(tree, path)


def _entries(tree: Entries, path: KeyPath) -> Entries:
    named = path in (("sources",), ("mappings",)) or path[2:] == ("properties",)
    return {
        key: {} if value is None else _pruned(value, (*path, key))
        for key, value in tree.items()
        if value is not None or named
    }


def check_relations(content: Entries, findings: Findings) -> None:
    """Tell everything that single keys cannot."""
    sources = content.get("sources")
    if isinstance(sources, dict):
        _check_names(sources, ("sources",), findings)
    _check_run_records(content, findings)
    _check_bulk(content.get("destination"), findings)
    mappings = content.get("mappings")
    if not isinstance(mappings, dict):
        return
    _check_names(mappings, ("mappings",), findings)
    for name, keys in mappings.items():
        if isinstance(keys, dict):
            path = ("mappings", name)
            _check_query(keys, path, findings)
            _check_source(keys, path, sources, findings)
            _check_collection(keys, path, findings)
            _check_schedules(keys, path, findings)
            _check_blackouts(keys, path, findings)
            _check_renames(keys, path, findings)
    _check_after(mappings, findings)
    _check_shared_collections(mappings, findings)


def _check_run_records(content: Entries, findings: Findings) -> None:
    destination, mappings = content.get("destination"), content.get("mappings")
    records = destination.get("run_records") if isinstance(destination, dict) else None
    if not isinstance(records, str) or not records:
        return
    path = ("destination", "run_records")
    if problem := collection_problem(records):
        findings.follow(path, problem)
    for name, collection in _collections(mappings) if isinstance(mappings, dict) else ():
        if collection == records:
            findings.follow(
                path,
                f"the mapping `{name}` writes the same collection",
                "give the run records a collection of their own",
            )


def _check_bulk(destination: Tree, findings: Findings) -> None:
    """The Bulk API has a documented address in one region only; `auto` does without it elsewhere."""
    if not isinstance(destination, dict) or destination.get("api") != "bulk" or "endpoint" in destination:
        return
    bulk = destination.get("bulk")
    if destination.get("region") == "dublin" and not (isinstance(bulk, dict) and "endpoint" in bulk):
        findings.follow(
            ("destination", "api"),
            "Segment documents no address of the Bulk API in the region dublin",
            "ask Segment, and set destination.bulk.endpoint; or use `api: objects`",
        )


def _check_names(entries: Mapping[str, Tree], path: KeyPath, findings: Findings) -> None:
    for name in entries:
        if not NAME.fullmatch(name):
            findings.follow((*path, name), f"a name is made of {NAME_RULE}")


def _check_query(keys: Entries, path: KeyPath, findings: Findings) -> None:
    written = [each for each in QUERIES if each in keys]
    if not written:
        findings.follow((*path, "query"), f"the mapping has nothing to read; expected {one_of(QUERIES)}")
    elif len(written) > 1:
        findings.follow((*path, written[1]), f"goes with no other of {one_of(QUERIES)}; `{written[0]}` is written too")
    if "primary_key" not in keys and "table" not in keys:
        findings.follow(
            (*path, "primary_key"),
            "the key `primary_key` is required here: its value becomes the object's id",
            "name the column or columns that identify a row",
        )


def _check_source(keys: Entries, path: KeyPath, sources: Tree, findings: Findings) -> None:
    if not isinstance(sources, dict) or not sources:
        return
    source = keys.get("source")
    if isinstance(source, str) and source and source not in sources:
        findings.follow((*path, "source"), f"there is no such source{suggestion(source, sources)}")
    if "source" not in keys and len(sources) > 1:
        findings.follow((*path, "source"), f"the mapping names no source; expected {one_of(sources)}")


def _check_collection(keys: Entries, path: KeyPath, findings: Findings) -> None:
    collection = keys.get("collection")
    if isinstance(collection, str) and collection and (problem := collection_problem(collection)):
        findings.follow((*path, "collection"), problem)
    name = str(path[-1])
    if "collection" not in keys and NAME.fullmatch(name) and (problem := collection_problem(name)):
        findings.follow(
            (*path, "collection"), f"the mapping's name cannot be its collection: {problem}", "set `collection`"
        )


def _check_schedules(keys: Entries, path: KeyPath, findings: Findings) -> None:
    schedules = keys.get("schedules")
    for position, schedule in enumerate(schedules if isinstance(schedules, list) else ()):
        if isinstance(schedule, dict) and ("cron" in schedule) == ("every" in schedule):
            findings.follow((*path, "schedules", position), "expected either `cron` or `every`")


def _check_blackouts(keys: Entries, path: KeyPath, findings: Findings) -> None:
    written = keys.get("blackouts")
    found = [_blackout(each) for each in written] if isinstance(written, list) else []
    if not leaves_time([each for each in found if each is not None]):
        findings.follow((*path, "blackouts"), "they leave no time at which a run could begin")


def _blackout(keys: Tree) -> Blackout | None:
    if not isinstance(keys, dict):
        return None
    try:
        start, end = clock_time(keys.get("from")), clock_time(keys.get("to"))
        days, zone = weekdays(keys.get("days", "*")), timezone(keys.get("timezone", "UTC"))
    except ValueError:
        return None
    return Blackout(start=start, end=end, days=days, timezone=zone)


def _check_after(mappings: Mapping[str, Tree], findings: Findings) -> None:
    after = {name: _names_in(keys.get("after")) for name, keys in mappings.items() if isinstance(keys, dict)}
    for name, others in after.items():
        for each in others:
            if each not in mappings:
                findings.follow(("mappings", name, "after"), f"there is no such mapping{suggestion(each, mappings)}")
    if names := circle(after):
        findings.follow(("mappings", names[0], "after"), f"this goes in a circle: {' after '.join(names)}")


def _names_in(written: Tree) -> list[str]:
    """The names of a list, or the one that stands for itself."""
    return [each for each in (written if isinstance(written, list) else [written]) if isinstance(each, str)]


def _check_renames(keys: Entries, path: KeyPath, findings: Findings) -> None:
    properties = keys.get("properties")
    renamed: set[str] = set()
    for name, rule in properties.items() if isinstance(properties, dict) else ():
        if isinstance(rule, dict) and "retired" in rule and "rename" not in rule:
            _check_retired(rule, (*path, "properties", name), findings)
        target = rule.get("rename") if isinstance(rule, dict) else None
        if isinstance(target, str) and target in renamed:
            findings.follow((*path, "properties", name, "rename"), "another property is renamed to this, too")
        if isinstance(target, str):
            renamed.add(target)


def _check_retired(rule: Entries, path: KeyPath, findings: Findings) -> None:
    for key in sorted({"type", "mask", "flatten"} & rule.keys()):
        findings.follow((*path, key), "a retired property is always null, so there is nothing to change about it")


def _check_shared_collections(mappings: Mapping[str, Tree], findings: Findings) -> None:
    owners: dict[str, str] = {}
    for name, collection in _collections(mappings):
        if collection in owners:
            findings.follow(
                ("mappings", name, "collection"),
                f"the mappings `{owners[collection]}` and `{name}` write the same collection",
                "give one of them another `collection`, or join their queries with UNION ALL",
            )
        owners.setdefault(collection, name)


def _collections(mappings: Mapping[str, Tree]) -> Iterator[tuple[str, str]]:
    for name, keys in mappings.items():
        collection = keys.get("collection", name) if isinstance(keys, dict) else None
        if isinstance(collection, str) and collection and NAME.fullmatch(name):
            yield name, collection
