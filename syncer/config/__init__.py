"""The configuration file: YAML in, Config out, all problems at once. Nothing here connects to anything."""

from __future__ import annotations

from syncer.config.load import find_config, load_config
from syncer.config.schema import json_schema
from syncer.config.select import select_mappings
from syncer.config.values import Config, DestinationConfig, SourceConfig

__all__ = [
    "Config",
    "DestinationConfig",
    "SourceConfig",
    "find_config",
    "json_schema",
    "load_config",
    "select_mappings",
]
