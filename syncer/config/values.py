"""The configuration as the rest of syncer sees it: frozen values, everything resolved. No parsing lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from syncer.core.model import CollectionMapping


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
