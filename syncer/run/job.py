"""What a run is handed: the mapping, what was asked for, and what it touches of the world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from syncer.core.choice import Choice
from syncer.core.events import Event
from syncer.core.model import CollectionMapping
from syncer.core.plan import RunOptions
from syncer.delivery.base import Delivery
from syncer.errors import SyncerError
from syncer.run.keeping import Cadence
from syncer.source.base import Source
from syncer.state.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """The delivery of large runs."""

    #: opened at its first use
    delivery: Callable[[], Delivery]
    #: objects from which on a run is large
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a run touches of the world."""

    #: opened at its first use, so that a source that cannot be opened fails its own run only
    source: Callable[[], Source]
    delivery: Delivery
    store: Store
    notice: Callable[[Event], None]
    now: Callable[[], datetime]
    #: seconds of a clock that only goes forward
    monotonic: Callable[[], float]
    #: set: stop reading, finish what is in flight
    stop: asyncio.Event
    #: why it was set, where that was the run's own `timeout`
    overdue: Callable[[], SyncerError | None] = lambda: None
    #: called whenever rows were read, an answer came, or something was committed
    moved: Callable[[], None] = lambda: None
    cadence: Cadence = field(default_factory=Cadence)
    #: None: all runs use `delivery`, and `choice` says why
    bulk: Large | None = None
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A mapping to run and all it needs."""

    mapping: CollectionMapping
    options: RunOptions
    ports: Ports
    #: IANA name of the zone of naive timestamps
    timezone: str
    #: who holds the lease: host, process
    owner: str
    run_id: str
    #: whether a run record is to be sent of the run
    recorded: bool = False
    #: asked once it has the lease: False: it is not wanted any more. Blocks
    wanted: Callable[[], bool] = lambda: True
