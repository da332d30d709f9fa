"""The command line. One small file per group of commands; imports everything, and nothing imports it."""

from __future__ import annotations


def main() -> None:
    """The `syncer` command."""
    import gc
    import sys

    # Look for cycles less often: what is loaded now stays, and rows come and go by the thousand and make none. Looking
    # after every 700 would take a seventh of the time to start, and a sixth of a run.
    gc.set_threshold(50_000, 20, 20)
    try:
        from syncer.cli.app import invoke

        sys.exit(invoke(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)  # before there was anything to interrupt, or when all was over
    finally:
        gc.freeze()  # all of it goes with the process: to look once more for cycles would be a sixth of a short command
