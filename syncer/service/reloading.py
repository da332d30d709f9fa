"""What a changed file may change while the daemon runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.config import Config
from syncer.errors import ConfigError, SyncerError, UsageError


def reloadable(before: Config, after: Config) -> Config:
    """The new configuration.

    Raises:
        UsageError: it keeps its state elsewhere, so its checkpoints are not those of what runs.
    """
    if after.state_url != before.state_url:
        raise UsageError("state.url was changed, which takes a restart", "restart `syncer serve`, or change it back")
    return after


def not_reloaded(before: Config, after: Config) -> Sequence[str]:
    """Keys that were changed and are read at the start only."""
    names = ("concurrency", "host", "port", "hosts", "token", "stuck_after")
    return [f"serve.{name}" for name in names if getattr(before.serve, name) != getattr(after.serve, name)]


def problems_of(error: SyncerError) -> Sequence[str]:
    """All that is wrong with a file, a line for each."""
    found = error.problems if isinstance(error, ConfigError) else ()
    told = [(str(each), each.hint) for each in found] or [(str(error), error.hint)]
    return [f"{what} (Try: {hint})" if hint else what for what, hint in told]
