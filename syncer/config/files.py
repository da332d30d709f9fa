"""Reading the config file and what it names: bounded, UTF-8, and never a traceback. Nothing is parsed here."""

from __future__ import annotations

from pathlib import Path

from syncer.errors import ConfigError, Problem

MAX_BYTES = 5_000_000


def read_text(path: Path) -> str:
    """Read a text file without its byte order mark.

    Raises:
        ConfigError: unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            return decode(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise unusable(str(path), None, f"the file cannot be read: {error.strerror or 'no reason given'}") from None


def decode(content: bytes, file: str) -> str:
    """Text of a file's bytes, without a byte order mark.

    Raises:
        ConfigError: too large, or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise unusable(file, None, f"the file is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise unusable(file, line, "this is not UTF-8 text", "save the file as UTF-8") from None


def unusable(file: str, line: int | None, message: str, hint: str | None = None) -> ConfigError:
    """Error with the one problem that ends the reading of a file."""
    problem = Problem(message=message, file=file, line=line, path="", hint=hint)
    return ConfigError(f"1 problem in {file}", hint, (problem,))
