"""Where checkpoints, runs, dead letters, fingerprints and leases live."""

from syncer.state.base import Commit, Fingerprint, Store
from syncer.state.export import export_state
from syncer.state.memory import MemoryStore
from syncer.state.open import open_store
from syncer.state.owner import current_owner

__all__ = ["Commit", "Fingerprint", "MemoryStore", "Store", "current_owner", "export_state", "open_store"]
