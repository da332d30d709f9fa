"""The way from a file to a Config: read, fill in, merge, check, resolve. Each step lives in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from syncer.config.values import Config
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.config.findings import Findings
    from syncer.config.model import FileKeys
    from syncer.config.relations import Entries

#: looked for in the working directory, in this order
FILE_NAMES = ("syncer.yaml", "config.yaml")
VARIABLE = "SYNCER_CONFIG"

_TO_BEGIN = "name it with -c; `syncer init` writes one for your database, `syncer demo` one that works at once"


def find_config(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """Path of the config file: `-c`, else $SYNCER_CONFIG, else syncer.yaml, else config.yaml.

    Raises:
        ConfigError: there is none.
    """
    named = explicit or environ.get(VARIABLE)
    if named is None or named == "":
        found = next((cwd / name for name in FILE_NAMES if (cwd / name).is_file()), None)
        if found is None:
            raise ConfigError(f"there is no {' and no '.join(FILE_NAMES)} here", _TO_BEGIN)
        return found
    path = cwd / named
    if not path.exists():
        by = "-c" if explicit else f"${VARIABLE}"
        raise ConfigError(f"the file {named}, which {by} names, does not exist", _TO_BEGIN)
    return path


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a config file and everything it names. Variables come from `environ`, then from `.env` beside the file.

    Raises:
        ConfigError: with all problems found, each with file, line and key path; never with a secret in it.
    """
    # pydantic and PyYAML are slow to import, and not every command reads a file
    from syncer.config.document import parse_document
    from syncer.config.files import read_text
    from syncer.config.findings import Findings
    from syncer.config.relations import check_relations, inherit
    from syncer.config.resolve import read_queries, resolve
    from syncer.config.variables import fill_in, read_variables

    document = parse_document(read_text(path), str(path))
    findings = Findings(document)
    variables = read_variables(path.parent, environ, findings)
    filled = fill_in(document.content, variables, findings)
    assert isinstance(filled, dict)
    content = inherit(filled)
    check_relations(content, findings)
    keys = _validate(content, findings)
    queries = read_queries(content, path.parent, findings)
    findings.raise_if_any()
    assert keys is not None
    return resolve(keys, queries, path)


def _validate(content: Entries, findings: Findings) -> FileKeys | None:
    from pydantic import ValidationError

    from syncer.config.explain import explain
    from syncer.config.model import FileKeys

    try:
        return FileKeys.model_validate(content)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_input=False):
            explain(error, content, FileKeys, findings)
        return None
