"""How many requests are in flight, against APIs that have enough of them at some point. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import virtual_time
from campaign import rounds

from syncer.delivery.places import Places

LATENCY = 0.05
#: what the API says to a request, given how many are there and the seconds since the start
Says = Callable[[int, float], str]


class Crowd:
    """Senders that always have something to send, and an API that minds how many of them there are."""

    def __init__(self, most: int, says: Says) -> None:
        self.most = most
        self.says = says
        self.said: Counter[str] = Counter()
        self.limits: list[int] = []
        self.there = 0

    async def send(self, seconds: float) -> None:
        """For so long."""
        self.start = virtual_time.clock()
        self.places = Places(self.most, clock=virtual_time.clock)
        await asyncio.gather(*(self._sender(self.start + seconds) for _ in range(self.most)))

    async def _sender(self, end: float) -> None:
        while virtual_time.clock() < end:
            async with self.places:
                began = virtual_time.clock()
                self.there += 1
                said = self.says(self.there, began - self.start)
                await asyncio.sleep(LATENCY)
                self.there -= 1
            self.said[said] += 1
            self.limits.append(self.places.limit)
            self.places.answered(began, crowded=said == "429", troubled=said == "500")


def crowd(most: int, says: Says, seconds: float) -> Crowd:
    """What came of it."""
    each = Crowd(most, says)
    virtual_time.run(each.send(seconds))
    return each


def room_for(places: int) -> Says:
    """429 to each that is one too many."""
    return lambda there, _: "429" if there > places else "200"


@pytest.mark.parametrize("room", [1, 3, 8, 20, 31][:: rounds(2, 1)])
def test_finds_the_edge_and_stays_near_it(room: int) -> None:
    """Nearly the best rate, hardly a refusal, and no swinging between far too many and far too few."""
    found = crowd(32, room_for(room), 600)
    best = room * 600 / LATENCY
    assert found.said["200"] > 0.85 * best
    assert found.said["429"] < 0.03 * found.said["200"]
    settled = found.limits[len(found.limits) // 5 :]
    assert max(settled) <= room + 1
    assert min(settled) >= max(1, int(0.6 * room))


def test_uses_all_places_where_nobody_minds() -> None:
    """From the first request on."""
    found = crowd(32, room_for(32), 10)
    assert set(found.limits) == {32}


def test_comes_back_when_there_is_room_again() -> None:
    """The API had little room for a minute; two minutes later all places are used."""
    found = crowd(32, lambda there, now: "429" if now < 60 and there > 4 else "200", 180)
    assert min(found.limits) <= 4
    assert found.places.limit == 32


def test_a_few_errors_are_no_crowd() -> None:
    """One in a hundred, as they come everywhere."""
    rng = random.Random(1)
    found = crowd(32, lambda *_: "500" if rng.random() < 0.01 else "200", 300)
    assert set(found.limits) == {32}


def test_many_errors_are_one() -> None:
    """Every second request fails: one at a time is enough to find out when that ends."""
    rng = random.Random(1)
    found = crowd(32, lambda *_: "500" if rng.random() < 0.5 else "200", 60)
    assert found.places.limit == 1


def test_whoever_gives_up_waiting_takes_no_place() -> None:
    """Also when the turn comes at that very moment."""

    async def main() -> int:
        places = Places(1, clock=virtual_time.clock)

        async def use(done: Callable[[], Awaitable[object]]) -> None:
            async with places:
                await done()

        async def briefly() -> None:
            await asyncio.sleep(1)

        first = asyncio.create_task(use(briefly))
        second, third = asyncio.create_task(use(briefly)), asyncio.create_task(use(briefly))
        await asyncio.sleep(0.5)
        second.cancel()
        await first
        fourth = asyncio.create_task(use(briefly))
        await asyncio.sleep(0)
        third.cancel()  # its turn has come, and it does not know yet
        await asyncio.wait([second, third, fourth], timeout=5)
        return sum(not each.cancelled() for each in (second, third, fourth))

    assert virtual_time.run(main()) == 1
