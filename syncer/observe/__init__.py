"""Observers of a run: logs, progress and what later wants to know, behind one protocol."""

from __future__ import annotations

from typing import Protocol

from syncer.core.events import Event


class Observer(Protocol):
    """Gets every event. Must be quick and must not raise."""

    def notice(self, event: Event) -> None:
        """Take note of one event."""


class Silence:
    """Observes nothing."""

    def notice(self, event: Event) -> None:
        """Forget it."""


class Fanout:
    """Passes every event to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def notice(self, event: Event) -> None:
        """Pass it on, in order."""
        for observer in self._observers:
            observer.notice(event)
