"""Fixtures of the status page's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_control import NOON, StillControl
from web_sample import busy, fill, sample_config

from syncer.service.web import Watch
from syncer.state import Store, open_store


@pytest.fixture(scope="module")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A state with a day of runs in it; to be read only."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('sample') / 'syncer.db'}")
    fill(store, NOON)
    yield store
    store.close()


@pytest.fixture
def sample(sample_store: Store, tmp_path: Path) -> tuple[StillControl, Watch]:
    """The daemon of the sample, and what was watched of it."""
    return busy(sample_config(tmp_path), sample_store, NOON)
