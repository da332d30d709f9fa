"""Every error syncer raises, grouped by what the person has to do. Rejected objects are values, not errors.

SyncerError                    exit 1
├── UsageError                 exit 2   the command line asks for something that does not exist
├── ConfigError                exit 2   the file is wrong: carries every problem found in it
├── MappingError               exit 2   the query and the mapping do not fit: missing key, colliding columns
├── SourceError                exit 1   the database
│   ├── SourceUnreachable               no connection, wrong password, missing driver
│   └── QueryError                      the database refused the statement; carries its own words
├── DeliveryError              exit 1   the API
│   ├── EndpointUnreachable             it did not answer, or not as the API does, for too long
│   ├── Unauthorized                    401 or 403: the write key
│   ├── EndpointMisconfigured  exit 2   redirects, 404, 405: this is not the Objects API
│   ├── Stopped                         told to stop before everything was accepted
│   └── NearlyAllRejected               the fuse: a config error must not drain a table into dead letters
├── RunTimedOut                exit 1   the run lasted longer than its mapping's `timeout`
├── Withheld                   exit 1   a guard held a run back; nothing it guards was sent
│   ├── TooManyDeleted                  too many objects would be marked as deleted
│   └── TooManyChanges                  too many objects would be sent
└── StateError                 exit 1   the checkpoint store
    ├── StateUnwritable                 read-only, full, locked
    ├── StateCorrupt                    not a state store, or damaged
    ├── StateTooNew            exit 2   written by a later syncer
    ├── CheckpointMismatch     exit 2   query, watermark, key or source changed since the checkpoint
    ├── LeaseHeld              exit 4   another process runs this mapping
    └── LeaseLost                       another process took this mapping over

Every error prints as `Error:` and, when it has a hint, `Try:`. No message ever holds a secret or a row's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class SyncerError(Exception):
    """Something went wrong that a person can act on."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(SyncerError):
    """The command line asks for something that does not exist or does not go together."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in the configuration."""

    message: str
    #: where: file, 1-based line, and the key path such as `mappings.rooms.watermark`
    file: str
    line: int | None
    path: str
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f": {self.path}" if self.path else ""
        return f"{place}{key}: {self.message}"


class ConfigError(SyncerError):
    """The configuration cannot be used. Carries all problems, not the first."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, problems)
        self.problems = problems


class MappingError(SyncerError):
    """The query's result and the mapping do not fit together."""

    exit_code = 2


class SourceError(SyncerError):
    """Reading the database failed."""


class SourceUnreachable(SourceError):
    """No connection to the database."""


class QueryError(SourceError):
    """The database refused the statement."""


class DeliveryError(SyncerError):
    """The API cannot take what we send."""


class EndpointUnreachable(DeliveryError):
    """The endpoint did not answer as the API does for longer than we wait."""


class Unauthorized(DeliveryError):
    """The write key was refused."""


class EndpointMisconfigured(DeliveryError):
    """What answers there is not the Objects API."""

    exit_code = 2


class Stopped(DeliveryError):
    """The delivery was told to stop before everything was accepted."""


class NearlyAllRejected(DeliveryError):
    """Nearly every object was rejected, so the run stopped."""


class RunTimedOut(SyncerError):
    """A run lasted longer than it may, and was stopped in order."""


class Withheld(SyncerError):
    """A guard held a run back, and a person has to say that it is meant."""


class TooManyDeleted(Withheld):
    """More objects would be marked as deleted than is likely to be meant."""


class TooManyChanges(Withheld):
    """More objects would be sent than the mapping allows."""


class StateError(SyncerError):
    """The state store failed."""


class StateUnwritable(StateError):
    """The state store cannot be written."""


class StateCorrupt(StateError):
    """The state store is damaged or is not one."""


class StateTooNew(StateError):
    """The state store was written by a later syncer."""

    exit_code = 2


class CheckpointMismatch(StateError):
    """The checkpoint belongs to another query, watermark, key or source."""

    exit_code = 2


class LeaseHeld(StateError):
    """Another process runs this mapping."""

    exit_code = 4


class LeaseLost(StateError):
    """Another process took this mapping over; nothing more is written for it here."""
