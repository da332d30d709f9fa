"""Databases to read: read-only, one snapshot per read, streamed."""

from syncer.source.opening import open_source

__all__ = ["open_source"]
