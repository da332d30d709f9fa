"""Valid keys to Config: paths made absolute, queries read. Only files are refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import SecretStr

from syncer.config.files import read_text
from syncer.config.findings import Findings
from syncer.config.model import (
    BlackoutKeys,
    DeletesKeys,
    DestinationKeys,
    FileKeys,
    MappingKeys,
    PropertyKeys,
    ScheduleKeys,
    ServeKeys,
)
from syncer.config.notification_keys import NotificationsKeys, WebhookKeys
from syncer.config.relations import Entries
from syncer.config.values import (
    Config,
    DestinationConfig,
    NotificationsConfig,
    ServeConfig,
    SourceConfig,
    WebhookConfig,
)
from syncer.config.variables import IN_SQL_HINT, variable_in_sql
from syncer.core.alerts import AlertKind
from syncer.core.model import (
    Blackout,
    CollectionMapping,
    Kind,
    Mode,
    PropertyRule,
    Schedule,
    TombstoneRule,
    WatermarkRule,
)
from syncer.core.notes import Form
from syncer.errors import ConfigError, Problem

#: Objects API page, regions
ENDPOINTS: Mapping[Literal["oregon", "dublin"], str] = {
    "oregon": "https://objects.segment.com",
    "dublin": "https://objects.euw1.segment.com",
}

#: Objects Bulk API page; it names none for the other region
BULK_ENDPOINTS: Mapping[str, str] = {"oregon": "https://objects-bulk-api.segmentapis.com"}

_FILE_DATABASE = re.compile(r"(?P<scheme>(?:sqlite|duckdb)(?:\+\w+)?:///)(?P<path>[^?]+)(?P<query>\?.*)?", re.DOTALL)


def read_queries(content: Entries, folder: Path, findings: Findings) -> dict[str, str]:
    """Read every mapping's `query_file`, relative to the config file's folder."""
    mappings = content.get("mappings")
    queries: dict[str, str] = {}
    for name, keys in mappings.items() if isinstance(mappings, dict) else ():
        file = keys.get("query_file") if isinstance(keys, dict) else None
        if isinstance(file, str) and file:
            queries[name] = _read_query(folder / file, ("mappings", name, "query_file"), findings)
    return queries


def _read_query(path: Path, key: tuple[str, ...], findings: Findings) -> str:
    try:
        sql = read_text(path)
    except ConfigError as error:
        problem = error.problems[0]
        findings.follow(key, f"{path.name}: {problem.message}", problem.hint)
        return ""
    if not sql.strip() or "\x00" in sql:
        findings.follow(key, f"{path.name}: the file holds no query")
    if found := variable_in_sql(sql):
        line = sql.count("\n", 0, found.start()) + 1
        message = f"variables are not filled in inside SQL: `${{{found['name']}}}`"
        findings.include(Problem(message=message, file=str(path), line=line, path="", hint=IN_SQL_HINT))
    return sql


def resolve(keys: FileKeys, queries: Mapping[str, str], path: Path) -> Config:
    """Make the Config of valid keys."""
    folder = path.parent.absolute()
    sources = {
        name: SourceConfig(name=name, url=beside(each.url.get_secret_value(), folder), timezone=each.timezone)
        for name, each in keys.sources.items()
    }
    only = next(iter(sources))
    return Config(
        path=path,
        sources=sources,
        destination=_destination(keys.destination),
        state_url=beside(keys.state.url.get_secret_value(), folder),
        serve=_serve(keys.serve),
        notifications=_notifications(keys.notifications),
        mappings={name: _mapping(name, each, only, queries.get(name)) for name, each in keys.mappings.items()},
    )


def beside(url: str, folder: Path) -> str:
    """Make a relative SQLite or DuckDB path absolute: relative to the config file's folder, wherever syncer is started.

    >>> beside("sqlite:///syncer.db?timeout=5", Path("/srv/sync"))
    'sqlite:////srv/sync/syncer.db?timeout=5'
    """
    found = _FILE_DATABASE.fullmatch(url)
    if (
        found is None
        or found["path"].startswith((":memory:", "file:", "md:", "/"))
        or Path(found["path"]).is_absolute()
    ):
        return url
    # SQLAlchemy 2.1 unquotes the database's name
    return f"{found['scheme']}{quote(str(folder), safe='/:')}/{found['path']}{found['query'] or ''}"


def _serve(keys: ServeKeys) -> ServeConfig:
    return ServeConfig(**{**dict(keys), "token": _secret(keys.token)})


def _notifications(keys: NotificationsKeys) -> NotificationsConfig:
    return NotificationsConfig(
        webhook=_webhook(keys.webhook), ping=_secret(keys.ping.url), failure_ping=_secret(keys.ping.failure_url)
    )


def _webhook(keys: WebhookKeys) -> WebhookConfig | None:
    url = _secret(keys.url)
    if url is None:
        return None
    form = Form(template=keys.template, body=keys.body)
    return WebhookConfig(url=url, kinds=frozenset(map(AlertKind, keys.kinds)), form=form)


def _secret(written: SecretStr | None) -> str | None:
    return None if written is None else written.get_secret_value()


def _destination(keys: DestinationKeys) -> DestinationConfig:
    return DestinationConfig(
        write_key=keys.write_key.get_secret_value(),
        endpoint=keys.endpoint or ENDPOINTS[keys.region],
        id=keys.id,
        api=keys.api,
        bulk_endpoint=keys.bulk.endpoint or keys.endpoint or BULK_ENDPOINTS.get(keys.region),
        bulk_threshold=keys.bulk.threshold,
        bulk_part_size=keys.bulk.part_size,
        synchronous=keys.synchronous,
        max_in_flight=keys.max_in_flight,
        requests_per_second=keys.requests_per_second,
        retry_for=keys.retry_for,
        budget=keys.budget,
        run_records=keys.run_records,
    )


def _mapping(name: str, keys: MappingKeys, only_source: str, query_read: str | None) -> CollectionMapping:
    return CollectionMapping(
        name=name,
        source=keys.source or only_source,
        query=keys.query if query_read is None else query_read,
        table=keys.table,
        collection=keys.collection or name,
        primary_key=keys.primary_key or (),
        watermark=WatermarkRule(**dict(keys.watermark)) if keys.watermark else None,
        schedules=tuple(map(_schedule, keys.schedules)),
        after=keys.after or (),
        timeout=keys.timeout,
        blackouts=tuple(map(_blackout, keys.blackouts)),
        send=keys.send,
        refresh_after=keys.refresh_after,
        deletes=_tombstones(keys.deletes),
        max_objects_per_run=keys.max_objects_per_run,
        max_change_ratio=keys.max_change_ratio,
        max_lag=keys.max_lag,
        max_deviation=keys.max_deviation,
        nulls=keys.nulls,
        properties={column: _property(each) for column, each in keys.properties.items()},
        schema=keys.schema_,
        tags=keys.tags,
    )


def _schedule(keys: ScheduleKeys) -> Schedule:
    return Schedule(**{**dict(keys), "mode": Mode(keys.mode), "jitter": keys.jitter or timedelta(0)})


def _blackout(keys: BlackoutKeys) -> Blackout:
    return Blackout(start=keys.from_, end=keys.to, days=keys.days, timezone=keys.timezone)


def _tombstones(keys: DeletesKeys) -> TombstoneRule | None:
    rule = {name: value for name, value in keys if name != "mode"}
    return TombstoneRule(**rule) if keys.mode == "tombstone" else None


def _property(keys: PropertyKeys) -> PropertyRule:
    # `string` is what most people type for text
    kind = "text" if keys.type == "string" else keys.type
    return PropertyRule(**{**dict(keys), "type": Kind(kind) if kind else None, "retired": keys.retired is True})
