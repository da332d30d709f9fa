"""Collects problems while the file is read, and knows where each of them stands. No rule of the file lives here."""

from __future__ import annotations

from syncer.config.document import Document
from syncer.config.paths import KeyPath, shown
from syncer.errors import ConfigError, Problem


class Findings:
    """All problems of one file. Finding one never ends the search for others."""

    def __init__(self, document: Document) -> None:
        self._file = document.file
        self._lines = document.lines
        # a dict keeps the order and takes each problem once
        self._problems: dict[Problem, None] = {}
        self._paths: set[KeyPath] = set()
        for path in document.blank:
            self.add(path, "has nothing behind it; write a value, or remove the line")
        for path, first, line in document.repeated:
            self._tell(f"repeats the key on line {first}", line, path)

    def __repr__(self) -> str:
        return f"<Findings {len(self._problems)} in {self._file}>"

    def add(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        """Tell a problem of the value at this path."""
        origin = self.origin(path)
        self._tell(message, self._line(origin), origin, hint)
        self._paths.add(origin)

    def follow(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        """Tell a problem unless one is known at this path already, from which it may only follow."""
        if self.origin(path) not in self._paths:
            self.add(path, message, hint)

    def include(self, problem: Problem) -> None:
        """Tell a problem of another file."""
        self._problems[problem] = None

    def _tell(self, message: str, line: int, path: KeyPath, hint: str | None = None) -> None:
        self.include(Problem(message=message, file=self._file, line=line, path=shown(path), hint=hint))

    def has(self, path: KeyPath) -> bool:
        """Whether the file writes this key, here or in `defaults`."""
        return self.origin(path) in self._lines

    def origin(self, path: KeyPath) -> KeyPath:
        """Where the value at a mapping's path is written: there, or under `defaults`."""
        if path[:1] != ("mappings",) or len(path) < 3:
            return path
        # `properties` is merged one property at a time, see `inherit`
        depth = 4 if path[2] == "properties" and len(path) > 3 else 3
        default = ("defaults", *path[2:])
        inherited = path[:depth] not in self._lines and default[: depth - 1] in self._lines
        return default if inherited else path

    def _line(self, path: KeyPath) -> int:
        known = (path[:length] for length in range(len(path), 0, -1))
        return next((self._lines[each] for each in known if each in self._lines), 1)

    def raise_if_any(self) -> None:
        """End here when there is a problem.

        Raises:
            ConfigError: with all of them, in the order of the file.
        """
        if not self._problems:
            return
        ordered = sorted(self._problems, key=lambda each: (each.file != self._file, each.file, each.line or 0))
        count = len(ordered)
        raise ConfigError(
            f"{count} problem{'s' if count > 1 else ''} in {self._file}",
            "correct the file, then run `syncer check --offline`",
            tuple(ordered),
        )
