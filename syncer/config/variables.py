"""`${VAR}` and `${VAR:-default}` in values, and the `.env` file. Works on text that was YAML already: nothing a
variable holds can become a key, a list or another variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from syncer.config.document import Tree, is_null, is_usable
from syncer.config.files import read_text
from syncer.config.findings import Findings
from syncer.config.paths import KeyPath
from syncer.errors import Problem

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = rf"\$\{{(?P<name>{_NAME})(?::-(?P<default>[^{{}}]*))?\}}"
_TOKEN = re.compile(rf"\$\$\{{|{_VARIABLE}|\$\{{")
_WHOLE = re.compile(_VARIABLE)
#: in SQL `$$` opens a string, so there is no escape and nothing to unescape
_IN_SQL = re.compile(rf"(?<!\$)\$\{{(?P<name>{_NAME})(?::-[^{{}}]*)?\}}")

_ASSIGNMENT = re.compile(rf"[ \t]*(?:export[ \t]+)?(?P<name>{_NAME})[ \t]*=[ \t]*")
_QUOTED = re.compile(r"""(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")[ \t]*(?:\#.*)?$""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def parse_dotenv(text: str, file: str) -> tuple[dict[str, str], list[Problem]]:
    """Read `KEY=VALUE` lines: comments, `export`, single quotes (as is), double quotes (with escapes such as `\n`)."""
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ASSIGNMENT.match(line)
        value = _dotenv_value(line[found.end() :]) if found else None
        if found is None or value is None:
            problems.append(Problem(message="expected KEY=VALUE", file=file, line=number, path=""))
        else:
            variables[found["name"]] = value
    return variables, problems


def _dotenv_value(text: str) -> str | None:
    if text[:1] not in ("'", '"'):
        # a `#` begins a comment only after a blank: keys and passwords may hold one
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
    found = _QUOTED.match(text)
    if found is None:
        return None
    if found["double"] is None:
        return str(found["single"])
    return _ESCAPE.sub(lambda each: _ESCAPED.get(each[1], each[1]), found["double"])


def is_query(path: KeyPath) -> bool:
    """Whether SQL stands at this path, in which variables are not filled in: values travel as binds."""
    in_mapping = path[:1] == ("mappings",) and len(path) == 3
    return path == ("defaults", "query") or (in_mapping and path[-1] == "query")


def variable_in_sql(sql: str) -> re.Match[str] | None:
    """Find the first variable in a query."""
    return _IN_SQL.search(sql)


def fill_in(tree: Tree, variables: Mapping[str, str], findings: Findings, path: KeyPath = ()) -> Tree:
    """Fill in variables everywhere but in queries. Text that cannot be filled in stays, with a problem told."""
    if isinstance(tree, dict):
        return {key: fill_in(value, variables, findings, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [fill_in(value, variables, findings, (*path, index)) for index, value in enumerate(tree)]
    if tree is None or "${" not in tree:
        return tree
    if is_query(path):
        _refuse_in_query(tree, findings, path)
        return tree
    filled = _TOKEN.sub(_replacement(variables, findings, path), tree)
    # a variable that is the whole value reads as if its text stood there: empty means no value
    return None if _WHOLE.fullmatch(tree) and is_null(filled) else filled


def _refuse_in_query(sql: str, findings: Findings, path: KeyPath) -> None:
    found = variable_in_sql(sql)
    if found is not None:
        findings.add(path, f"variables are not filled in inside SQL: `${{{found['name']}}}`", IN_SQL_HINT)


#: what to do instead
IN_SQL_HINT = "write the value itself; what changes from run to run is the watermark, which `:watermark` places"


def _replacement(variables: Mapping[str, str], findings: Findings, path: KeyPath) -> Callable[[re.Match[str]], str]:
    def replace(found: re.Match[str]) -> str:
        """1. `$${`: the characters themselves. 2. a bare `${`: a problem. 3. a variable, its default, a problem."""
        name = found["name"]
        if found[0] == "$${":
            return "${"
        if name is None:
            findings.add(path, "this is not `${NAME}` or `${NAME:-default}`", "write `$${` for the characters `${`")
            return found[0]
        value = variables.get(name)
        if found["default"] is not None and not value:
            return str(found["default"])
        if value is None:
            findings.add(path, f"the variable {name} is not set", f"set {name} in the environment or in the file .env")
            return found[0]
        if not is_usable(value):
            findings.add(path, f"the variable {name} does not hold UTF-8 text")
            return found[0]
        return value

    return replace


def read_variables(folder: Path, environ: Mapping[str, str], findings: Findings) -> dict[str, str]:
    """Read `.env` in the folder, if there is one; the environment wins over it."""
    path = folder / ".env"
    if not path.exists():
        return dict(environ)
    variables, problems = parse_dotenv(read_text(path), str(path))
    for problem in problems:
        findings.include(problem)
    return {**variables, **environ}
