"""The command line. One small file per group of commands; imports everything, and nothing imports it."""

from __future__ import annotations


def main() -> None:
    """The `syncer` command."""
    import sys

    try:
        from syncer.cli.app import invoke

        sys.exit(invoke(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)  # before there was anything to interrupt, or when all was over
