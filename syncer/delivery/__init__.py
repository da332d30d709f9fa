"""How batches go out: the Objects API now, its Bulk sibling later, memory for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from syncer.core.events import Event
from syncer.delivery.base import Delivery
from syncer.errors import UsageError

if TYPE_CHECKING:
    from syncer.delivery.client import Timeouts
    from syncer.delivery.objects_api import World

__all__ = ["Delivery", "open_delivery"]


def open_delivery(
    *,
    write_key: str,
    endpoint: str,
    notice: Callable[[Event], None],
    api: str = "auto",
    synchronous: Literal["auto", "always", "never"] = "auto",
    max_in_flight: int = 16,
    requests_per_second: float | None = None,
    retry_for: timedelta = timedelta(minutes=5),
    timeouts: Timeouts | None = None,
    world: World | None = None,
) -> Delivery:
    """Open the delivery of one write key. Nothing is sent yet; connections belong to the event loop of the first send.

    Args:
        write_key: the Segment source's.
        endpoint: URL without the path, such as `https://objects.segment.com`.
        notice: gets `RequestRetried` and `DeliveryPaused`.
        api: `objects` or `auto`.
        synchronous: whether the API processes in order: always, never, or when `send` is asked to.
        max_in_flight: requests at once.
        requests_per_second: ceiling on requests begun; None: none.
        retry_for: how long to go on while nothing is accepted.
        timeouts: of one request.
        world: time and chance.

    Raises:
        UsageError: the api is not one of those.
    """
    if api not in ("objects", "auto"):
        raise UsageError(f"`api: {api}` is not built yet", "set destination.api to `auto` or `objects`")
    # slow to import, and most commands send nothing
    from syncer.delivery.client import HttpClient
    from syncer.delivery.objects_api import ObjectsApi, World

    world = world or World()
    return ObjectsApi(
        write_key=write_key, endpoint=endpoint, synchronous=synchronous, max_in_flight=max_in_flight,
        requests_per_second=requests_per_second, retry_for=retry_for.total_seconds(), notice=notice, world=world,
        client=HttpClient(
            f"{endpoint.rstrip('/')}/v1/set", connections=max_in_flight, timeouts=timeouts, clock=world.clock
        ),
    )  # fmt: skip
