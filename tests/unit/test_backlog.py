"""Values that wait for one task."""

from __future__ import annotations

import asyncio

from syncer.observe.backlog import Backlog


def test_values_are_taken_in_order_and_one_at_a_time() -> None:
    """Also those that are put while one is being taken."""
    taken: list[int] = []

    async def take(value: int) -> None:
        before = len(taken)
        await asyncio.sleep(0)
        assert len(taken) == before
        assert len(backlog) >= 1
        taken.append(value)
        if value < 3:
            backlog.put(value + 10)

    backlog = Backlog(take, most=10, name="values")

    async def put() -> None:
        assert all(backlog.put(value) for value in (1, 2, 3))
        assert len(backlog) == 3
        assert await backlog.drain(30) == 0

    asyncio.run(put())
    assert taken == [1, 2, 3, 11, 12]
    assert len(backlog) == 0


def test_what_is_given_up_is_not_taken_later() -> None:
    """After an end that came too early, only what is put then."""
    taken: list[int] = []

    async def take(value: int) -> None:
        if value == 1:
            await asyncio.Event().wait()
        taken.append(value)

    backlog = Backlog(take, most=2, name="values")

    async def put() -> None:
        assert backlog.put(1)
        await asyncio.sleep(0)
        assert backlog.put(2)
        assert await backlog.drain(0) == 2
        assert await backlog.drain(0) == 0
        backlog.put(3)
        assert await backlog.drain(30) == 0

    asyncio.run(put())
    assert taken == [3]


def test_the_oldest_gives_way() -> None:
    """And whoever puts is told."""
    taken: list[int] = []

    async def take(value: int) -> None:
        taken.append(value)

    backlog = Backlog(take, most=2, name="values")

    async def put() -> None:
        assert [backlog.put(value) for value in (1, 2, 3)] == [True, True, False]
        await backlog.drain(30)

    asyncio.run(put())
    assert taken == [2, 3]
