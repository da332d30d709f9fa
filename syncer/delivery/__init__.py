"""How batches go out: the Objects API, its Bulk sibling, memory for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from syncer.core.events import Event
from syncer.core.fingerprint import destination_of
from syncer.delivery.base import Delivery
from syncer.delivery.pacing import Pace

if TYPE_CHECKING:
    from syncer.delivery.client import Timeouts
    from syncer.delivery.line import World

__all__ = ["BulkAt", "Delivery", "Pace", "open_delivery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAt:
    """Where the Bulk API is, and how it is used."""

    #: URL without the path, such as `https://objects-bulk-api.segmentapis.com`
    endpoint: str
    #: uncompressed bytes of an upload
    part_size: int = 16_000_000


def open_delivery(
    *,
    write_key: str,
    endpoint: str,
    notice: Callable[[Event], None],
    identity: str | None = None,
    bulk: BulkAt | None = None,
    synchronous: Literal["auto", "always", "never"] = "auto",
    max_in_flight: int = 16,
    pace: Pace | None = None,
    retry_for: timedelta = timedelta(minutes=5),
    timeouts: Timeouts | None = None,
    world: World | None = None,
) -> Delivery:
    """Open a delivery of one write key. Nothing is sent yet; connections belong to the event loop of the first send.

    Args:
        write_key: the Segment source's.
        endpoint: of the Objects API, without the path, such as `https://objects.segment.com`; with `bulk` nothing is
            sent there, but it is still the destination's name.
        notice: gets `RequestRetried` and `DeliveryPaused`.
        identity: what is sent is remembered under it; by default that of endpoint and write key.
        bulk: deliver through the Bulk API instead.
        synchronous: whether the Objects API processes in order: always, never, or when `send` is asked to.
        max_in_flight: requests at once; of the Bulk API no more than it allows.
        pace: shared by all deliveries of the write key; by default without a ceiling.
        retry_for: how long to go on while nothing is accepted.
        timeouts: of one request.
        world: time and chance.
    """
    # slow to import, and most commands send nothing
    from syncer.delivery.bulk_api import BULK_API, MOST_AT_ONCE, BulkApi
    from syncer.delivery.client import HttpClient, Timeouts
    from syncer.delivery.line import Line, World
    from syncer.delivery.objects_api import OBJECTS_API, ObjectsApi

    world = world or World()
    places = max_in_flight if bulk is None else min(max_in_flight, MOST_AT_ONCE)
    url = f"{endpoint.rstrip('/')}/v1/set" if bulk is None else bulk.endpoint
    if bulk is not None and timeouts is None:
        timeouts = Timeouts(write=120, read=120, attempt=300)
    line = Line(
        api=OBJECTS_API if bulk is None else BULK_API, write_key=write_key, endpoint=url, max_in_flight=places,
        pace=pace or Pace(requests_per_second=None, clock=world.clock), retry_for=retry_for.total_seconds(),
        notice=notice, world=world,
        client=HttpClient(url, connections=places, timeouts=timeouts),
    )  # fmt: skip
    identity = identity or destination_of(endpoint, write_key)
    if bulk is not None:
        return BulkApi(line=line, identity=identity, part_size=bulk.part_size)
    return ObjectsApi(line=line, identity=identity, synchronous=synchronous, max_in_flight=max_in_flight)
