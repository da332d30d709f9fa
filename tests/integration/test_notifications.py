"""What those who are to be notified get, over real HTTP, from the events of runs and a state that remembers them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from receiver import Receiver, receiving

from syncer.config import Config
from syncer.config.values import DestinationConfig, NotificationsConfig, WebhookConfig
from syncer.core.alerts import AlertKind
from syncer.core.events import Event, RunFinished, RunMoved, RunStarted, RunStuck
from syncer.core.model import CollectionMapping, Counts, Mode, Outcome, RunReport
from syncer.core.notes import Form
from syncer.errors import StateUnwritable
from syncer.observe.notifications import Notifier, Past
from syncer.state import MemoryStore, open_store
from syncer.state.base import Commit, Store

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody to notify."""
    with receiving() as there:
        yield there


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A state."""
    made = MemoryStore() if request.param == "memory" else open_store(f"sqlite:///{tmp_path / 'syncer.db'}")
    with closing(made):
        yield made


def config_of(
    receiver: Receiver,
    *,
    kinds: Sequence[AlertKind] = tuple(AlertKind),
    ping: str | None = None,
    failure_ping: str | None = None,
    form: Form | None = None,
    max_lag: timedelta | None = None,
) -> Config:
    """A config with the mappings `hosts` and `rooms` (which may be behind by `max_lag`) that notifies the receiver."""
    base = CollectionMapping(name="", source="app", table="t")
    return Config(
        path=Path("syncer.yaml"), sources={}, state_url="sqlite://",
        destination=DestinationConfig(write_key="k", endpoint="http://127.0.0.1:9"),
        mappings={
            "hosts": replace(base, name="hosts", collection="hosts"),
            "rooms": replace(base, name="rooms", collection="rooms", max_lag=max_lag),
        },
        notifications=NotificationsConfig(
            webhook=WebhookConfig(url=receiver.hook, kinds=frozenset(kinds), form=form or Form()),
            ping=receiver.server.endpoint + ping if ping else None,
            failure_ping=receiver.server.endpoint + failure_ping if failure_ping else None,
        ),
    )  # fmt: skip


def report(number: int, outcome: Outcome = Outcome.SUCCEEDED, *, mapping: str = "rooms", error: str | None = None,
           rejected: int = 0) -> RunReport:  # fmt: skip
    """The `number`th run, two hours after the one before it."""
    started = DAWN + number * 2 * HOUR
    return RunReport(
        run_id=f"{mapping}-{number}", mapping=mapping, collection=mapping, mode=Mode.FULL, outcome=outcome,
        trigger="schedule", started_at=started, finished_at=started + timedelta(seconds=9),
        counts=Counts(read=10, sent=10 - rejected, rejected=rejected),
        error=error or ("no connection" if outcome is Outcome.FAILED else None), hint="look",
    )  # fmt: skip


def stored(store: Store, run: RunReport) -> Event:
    """As a run leaves it: in the state, and as an event."""
    lease = store.acquire(run.mapping, "me", datetime.now(UTC), HOUR)
    store.commit(lease, Commit(run=run))
    store.release(lease)
    return RunFinished(report=run)


def told(config: Config, past: Past, *events: Event, looks: Sequence[datetime] = (), since: datetime = DAWN) -> None:
    """One process: it notices these, looks at these times, and ends."""

    async def process() -> None:
        notifier = Notifier(config, past, now=lambda: since, host="db-1")
        for event in events:
            notifier.notice(event)
        for now in looks:
            await notifier.look(now)
        await notifier.close()
        await notifier.close()

    asyncio.run(process())


FAILED = "rooms: the full run failed: no connection"
WORKS = "rooms: works again, the full run read 10 rows and sent 10 objects"


def test_a_failure_is_told_once_and_its_recovery_too_whatever_process_they_are_of(
    receiver: Receiver, store: Store
) -> None:
    """Five runs, each in a process of its own, as cron starts them."""
    config = config_of(receiver)
    outcomes = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED, Outcome.SUCCEEDED)
    for number, outcome in enumerate(outcomes):
        told(config, store, stored(store, report(number, outcome)))
    assert receiver.texts == [FAILED, WORKS]


def test_what_is_posted(receiver: Receiver, store: Store) -> None:
    """Slack's form, with the hint; or a body of one's own."""
    failed = stored(store, report(0, Outcome.FAILED))
    told(config_of(receiver), store, failed)
    body = {"summary": "{text}", "rows": "{read}", "on": ["{host}"]}
    told(config_of(receiver, form=Form(template="{mapping}/{kind}/{run_id}", body=body)), store, failed)
    assert receiver.posts == [
        {"text": f"syncer: {FAILED}\nTry: look"},
        {"summary": "rooms/failure/rooms-0", "rows": 10, "on": ["db-1"]},
    ]


def test_only_the_kinds_asked_for_are_told(receiver: Receiver, store: Store) -> None:
    """A failure, its recovery and dead letters, of which recoveries are wanted."""
    runs = [report(0, Outcome.FAILED), report(1), report(2, Outcome.PARTIAL, rejected=2)]
    told(config_of(receiver, kinds=[AlertKind.RECOVERY]), store, *(stored(store, each) for each in runs))
    assert receiver.texts == [WORKS]


def test_runs_that_say_nothing_of_their_mapping_are_not_told(receiver: Receiver, store: Store) -> None:
    """Another process has it, it was stopped, or it has only begun."""
    runs = [report(0, Outcome.LOCKED), report(1, Outcome.INTERRUPTED)]
    begun = RunStarted(mapping="rooms", run_id="1", mode=Mode.FULL)
    told(
        config_of(receiver, ping="/well", failure_ping="/ill"),
        store,
        begun,
        *(RunFinished(report=each) for each in runs),
    )
    assert receiver.server.requests == []


def test_a_mapping_that_is_behind_is_told_once_by_whoever_looks_first(receiver: Receiver, store: Store) -> None:
    """Good at 0:00, five hours allowed: three looks of two processes after 5:00 tell it once; a good run ends it."""
    config = config_of(receiver, max_lag=5 * HOUR)
    good = stored(store, report(0))
    told(config, store, good, looks=[DAWN + 5 * HOUR])
    assert receiver.texts == []
    told(config, store, looks=[DAWN + 5 * HOUR + timedelta(seconds=2), DAWN + 6 * HOUR])
    told(config, store, looks=[DAWN + 7 * HOUR])
    behind = "rooms: no run has succeeded since 2026-01-01 00:00 UTC; 5h are allowed"
    assert receiver.texts == [behind]
    told(config, store, stored(store, report(4)), stored(store, report(5)))
    assert receiver.texts == [behind, "rooms: caught up, the full run has succeeded"]
    told(config, store, looks=[DAWN + 16 * HOUR])
    assert receiver.texts[2:] == ["rooms: no run has succeeded since 2026-01-01 10:00 UTC; 5h are allowed"]


def test_a_lag_that_began_after_a_run_is_not_ended_by_it(receiver: Receiver, store: Store) -> None:
    """However late the run is heard of: the first of all, and behind again by then."""
    config = config_of(receiver, max_lag=5 * HOUR)
    heard = stored(store, report(0))
    told(config, store, looks=[DAWN + 6 * HOUR])
    told(config, store, heard)
    assert receiver.texts == ["rooms: no run has succeeded since 2026-01-01 00:00 UTC; 5h are allowed"]


def test_a_mapping_that_never_succeeded_is_behind_from_the_start_of_the_daemon_on(
    receiver: Receiver, store: Store
) -> None:
    """After five hours, once."""
    config = config_of(receiver, max_lag=5 * HOUR)
    told(config, store, looks=[DAWN + 4 * HOUR, DAWN + 6 * HOUR, DAWN + 7 * HOUR])
    assert receiver.texts == ["rooms: no run has succeeded since 2026-01-01 00:00 UTC; 5h are allowed"]


def test_a_recovery_and_the_end_of_a_lag_are_one_message(receiver: Receiver, store: Store) -> None:
    """It failed, was told to be behind, and works again."""
    config = config_of(receiver, max_lag=5 * HOUR, kinds=[AlertKind.RECOVERY])
    events = [stored(store, report(0)), stored(store, report(1, Outcome.FAILED))]
    told(config, store, *events, looks=[DAWN + 6 * HOUR])
    told(config, store, stored(store, report(4)))
    assert receiver.texts == [WORKS]


@pytest.mark.parametrize(
    ("then", "end"),
    [
        (RunMoved(mapping="rooms", run_id="rooms-0"), ["rooms: the run rooms-0 moves again"]),
        (RunFinished(report=report(0)), ["rooms: the run rooms-0 moves again"]),
        (RunFinished(report=report(0, Outcome.FAILED)), [FAILED]),
        (RunMoved(mapping="rooms", run_id="another"), []),
    ],
)
def test_a_stuck_run_is_told(receiver: Receiver, then: Event, end: list[str]) -> None:
    """And what becomes of it."""
    stuck = RunStuck(mapping="rooms", run_id="rooms-0", since=DAWN)
    told(config_of(receiver), MemoryStore(), stuck, then)
    assert receiver.texts == ["rooms: the run rooms-0 has not moved since 2026-01-01 00:00 UTC", *end]


def test_a_ping_while_all_is_well(receiver: Receiver, store: Store) -> None:
    """At the end of a process with good runs: while the last run of every mapping that ever ran was good."""
    config = config_of(receiver, ping="/well", failure_ping="/ill", kinds=[])
    told(config, store, stored(store, report(0)), stored(store, report(0, mapping="hosts")))
    assert receiver.pings == ["/well"]
    told(config, store, stored(store, report(1, Outcome.FAILED)))
    assert receiver.pings == ["/well", "/ill"]
    told(config, store, stored(store, report(1, mapping="hosts")))  # rooms still fails
    assert receiver.pings == ["/well", "/ill"]
    told(config, store, stored(store, report(2, Outcome.PARTIAL, rejected=1)))  # dead letters are told otherwise
    assert receiver.pings == ["/well", "/ill", "/well"]


def test_a_failure_that_the_state_does_not_know_is_no_good_run_either(receiver: Receiver) -> None:
    """As when the state could not be written: `rooms` failed, and `hosts` is well."""
    store = MemoryStore()
    told(
        config_of(receiver, ping="/well", kinds=[]), store, RunFinished(report=report(0, Outcome.FAILED)),
        stored(store, report(1, mapping="hosts")),
    )  # fmt: skip
    assert receiver.pings == []


def test_a_full_run_is_held_against_full_runs_however_many_others_there_were(receiver: Receiver) -> None:
    """What is refused every night is told in the first, though a hundred and fifty incremental runs lie between."""
    store = MemoryStore()
    night = report(0, Outcome.PARTIAL, rejected=3)
    day = [replace(report(number), mode=Mode.INCREMENTAL) for number in range(1, 151)]
    for run in (night, *day):
        stored(store, run)
    told(config_of(receiver), store, stored(store, report(151, Outcome.PARTIAL, rejected=3)))
    assert receiver.texts == []
    told(config_of(receiver), store, stored(store, report(152, Outcome.PARTIAL, rejected=4)))
    assert receiver.texts == ["rooms: 1 object was refused and is a dead letter"]


def test_looks_ping_only_when_something_has_run_since(receiver: Receiver, store: Store) -> None:
    """A daemon whose schedules no longer begin anything is not well."""
    config = config_of(receiver, ping="/well", kinds=[])
    told(config, store, looks=[DAWN, DAWN])
    assert receiver.pings == []


def test_pings_of_each_mapping(receiver: Receiver, store: Store) -> None:
    """With its name in the address, whatever becomes of the others."""
    config = config_of(receiver, ping="/{mapping}", failure_ping="/{mapping}/fail", kinds=[])
    events = [
        stored(store, report(0, Outcome.FAILED)),
        stored(store, report(0, mapping="hosts")),
        stored(store, report(1)),
    ]
    told(config, store, *events)
    assert receiver.pings == ["/rooms/fail", "/hosts", "/rooms"]


class Unreadable(MemoryStore):
    """A state that cannot be read."""

    def runs(self, *_: object, **__: object) -> Sequence[RunReport]:
        raise StateUnwritable("the state is away")

    def latest_runs(self, *_: object, **__: object) -> Mapping[str, Sequence[RunReport]]:
        raise StateUnwritable("the state is away")


def test_without_a_state_a_process_goes_by_what_it_saw(receiver: Receiver) -> None:
    """A state that is away is what fails most: it is told once, and pings wait."""
    config = config_of(receiver, ping="/well", failure_ping="/ill", max_lag=HOUR)
    runs = [report(0, Outcome.FAILED), report(1, Outcome.FAILED), report(2)]
    told(config, Unreadable(), *(RunFinished(report=each) for each in runs), looks=[DAWN + 9 * HOUR])
    assert receiver.texts == [FAILED, WORKS]
    # once or twice: at the look and at the end
    assert set(receiver.pings) == {"/ill"}


def test_another_configuration_holds_from_then_on(receiver: Receiver) -> None:
    """As after a reload of the file."""

    async def process() -> None:
        notifier = Notifier(replace(config_of(receiver), notifications=NotificationsConfig()), MemoryStore())
        notifier.notice(RunFinished(report=report(0, Outcome.FAILED)))
        notifier.use(config_of(receiver))
        notifier.notice(RunFinished(report=report(1, Outcome.FAILED, error="another")))
        await notifier.close()

    asyncio.run(process())
    assert receiver.texts == ["rooms: the full run failed: another"]


def test_nobody_to_notify() -> None:
    """Then nothing is read, and nothing is sent: the state here could not be read."""
    with receiving() as receiver:
        config = replace(config_of(receiver), notifications=NotificationsConfig())
        told(config, Unreadable(), RunFinished(report=report(0, Outcome.FAILED)), looks=[DAWN + 9 * HOUR])
        assert receiver.server.requests == []
