"""The configuration as the rest of syncer sees it: frozen values, everything resolved. No parsing lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from syncer.core.alerts import AlertKind
from syncer.core.fingerprint import destination_of
from syncer.core.model import BULK_OBJECT, CollectionMapping, Limits
from syncer.core.notes import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """A database to read."""

    name: str
    #: SQLAlchemy URL; relative SQLite and DuckDB paths are already made absolute
    url: str = field(repr=False)
    #: IANA name of the zone of naive timestamps
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationConfig:
    """The Segment source that objects go to."""

    write_key: str = field(repr=False)
    #: base URL without a slash at its end; from `region` unless `endpoint` is written
    endpoint: str
    #: as what it is known since before its write key was rotated; None: by the write key
    id: str | None = None
    api: Literal["objects", "bulk", "auto"] = "auto"
    #: base URL of the Bulk API; None: nobody knows it
    bulk_endpoint: str | None = None
    #: with `api: auto`, objects from which on a run uses it
    bulk_threshold: int = 10_000
    #: uncompressed bytes of an upload to it
    bulk_part_size: int = 16_000_000
    synchronous: Literal["auto", "always", "never"] = "auto"
    max_in_flight: int = 16
    #: None: no ceiling
    requests_per_second: float | None = None
    #: a run gives up after this long without one accepted request
    retry_for: timedelta = timedelta(minutes=5)
    #: objects that may be sent in a calendar month; None: any number
    budget: int | None = None
    #: collection of the run records; None: there are none
    run_records: str | None = None

    @property
    def limits(self) -> Limits:
        """What the objects of a run of any size have to keep to."""
        takes_bulk = self.api == "bulk" or (self.api == "auto" and self.bulk_endpoint is not None)
        return Limits(object=BULK_OBJECT) if takes_bulk else Limits()

    @property
    def identity(self) -> str:
        """What was sent is remembered under it."""
        return destination_of(self.endpoint, self.write_key, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """How the daemon works."""

    #: mappings running at once
    concurrency: int = 4
    #: where the status page listens
    host: str = "127.0.0.1"
    port: int = 8080
    #: what its actions ask for; None: there are no actions
    token: str | None = field(default=None, repr=False)
    #: further names of the status page, `name` or `name:port`
    hosts: tuple[str, ...] = ()
    #: a run that does not move for so long is stuck
    stuck_after: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Where JSON is posted to when something is worth telling."""

    #: holds a secret
    url: str = field(repr=False)
    kinds: frozenset[AlertKind]
    #: may hold the receiver's key
    form: Form = field(default=Form(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationsConfig:
    """Who is told without looking. The addresses of pings hold secrets; they may have the field `{mapping}`."""

    #: None: nobody
    webhook: WebhookConfig | None = None
    #: got while all is well
    ping: str | None = field(default=None, repr=False)
    #: got when a run has failed
    failure_ping: str | None = field(default=None, repr=False)

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return self.webhook is not None or self.ping is not None or self.failure_ping is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration file, valid and complete."""

    path: Path
    sources: Mapping[str, SourceConfig]
    destination: DestinationConfig
    #: SQLAlchemy URL; may hold a password
    state_url: str = field(repr=False)
    #: in file order; `query_file` is already read into `query`
    mappings: Mapping[str, CollectionMapping]
    serve: ServeConfig = ServeConfig()
    notifications: NotificationsConfig = NotificationsConfig()
