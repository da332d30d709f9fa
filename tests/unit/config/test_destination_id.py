"""What makes a destination the same: host and write key, or the id that it had before its key was rotated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from syncer.config import Config
from syncer.core.fingerprint import destination_id, destination_of

SEGMENT, SANDBOX = "https://objects.segment.com", "http://127.0.0.1:8765"
BEFORE = destination_id(SEGMENT, "old-key")


@pytest.mark.parametrize(
    ("endpoint", "write_key", "known_as", "same"),
    [
        (SEGMENT, "old-key", None, True),
        (SEGMENT, "new-key", None, False),
        (SEGMENT, "new-key", BEFORE, True),
        (SEGMENT, "newer-key", BEFORE, True),
        ("https://objects.segment.com:443/", "new-key", BEFORE, True),
        # what went to the sandbox was not sent to Segment, whatever id the config has
        (SANDBOX, "new-key", BEFORE, False),
        (SANDBOX, "old-key", BEFORE, False),
        (SEGMENT, "new-key", destination_id(SANDBOX, "old-key"), False),
    ],
)
def test_an_id_outlives_its_write_key(endpoint: str, write_key: str, known_as: str | None, same: bool) -> None:
    """At the host that it names, and nowhere else."""
    assert (destination_of(endpoint, write_key, known_as) == destination_of(SEGMENT, "old-key")) is same


def test_an_id_tells_its_host_and_not_its_key() -> None:
    """It may stand in a file that everybody reads, and is the same once it is written there."""
    assert BEFORE.startswith("objects.segment.com/")
    assert "old-key" not in BEFORE
    assert destination_id(SEGMENT, "new-key", BEFORE) == BEFORE


def test_the_config_keeps_the_id(load: Callable[..., Config], valid: str) -> None:
    """`destination.id` is what the identity is made of; left empty, as by a variable that is not set, it is not."""
    key = load(valid).destination.write_key
    for written, known in ((BEFORE, "old-key"), ("${ID:-}", key)):
        to = load(valid.replace("destination:", f"destination:\n  id: {written}")).destination
        assert to.identity == destination_of(SEGMENT, known)
