"""Write key, database password and row values are told nowhere, whatever goes wrong; dead letters hold objects."""

from __future__ import annotations

import base64
import itertools
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import http_server
import pytest
from acceptance.support import CommandLine, Told, end_of, until
from campaign import rounds
from canaries import (
    PASSWORD,
    PASSWORD_IN_URL,
    VALUE,
    WRITE_KEY,
    assert_tells_nothing,
    letters_in,
    secrets_in,
    state_without_letters,
    values_in,
)
from http_server import Reply, Request, Script, answer, serving
from secret_world import CONFIG, ROOMS, STYLES, fails, prepared
from sqlalchemy.engine import make_url

from syncer.state import open_store


@pytest.fixture
def syncer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command in a folder with canaries."""
    return prepared(tmp_path, capfd)


# --- the API


def said(request: Request) -> Iterator[dict[str, object]]:
    """What a server may repeat of a request, in every form it can think of; each short enough to be shown whole."""
    rooms = json.loads(request.body)["objects"]
    yield {"error": f"cannot take {request.body.decode()}"}
    yield {"error": json.dumps({"inner": json.dumps(rooms[0])})}
    yield {"error": "refused", "objects": rooms}
    yield {"error": f"the value {VALUE[:14]}... is too long", "where": quote(VALUE, safe="")}
    yield {"error": "no such key", "headers": {"Authorization": request.headers["authorization"]}}
    yield {"error": f"no such key: {WRITE_KEY}", "url": quote(WRITE_KEY, safe="")}
    yield {"error": json.dumps({"key": WRITE_KEY, "basic": f"{WRITE_KEY}:"})}


def echo(status: int, *headers: tuple[str, str]) -> Script:
    """A server that repeats what it was sent, in another form each time."""

    def script(request: Request) -> Reply:
        forms = list(said(request))
        return answer(status, json.dumps(forms[next(turn) % len(forms)]).encode(), *headers)

    turn = itertools.count()
    return script


def in_turn(*scripts: Script) -> Script:
    """One after the other, and the last for ever."""
    turn = itertools.count()
    return lambda request: scripts[min(next(turn), len(scripts) - 1)](request)


def page(request: Request) -> Reply:
    """A web page with what was sent in it."""
    return answer(200, b"<html>" + request.body + request.headers["authorization"].encode() + VALUE.encode())


def no_http(request: Request) -> Reply:
    """The request itself, instead of an answer."""
    return Reply(parts=[request.headers["authorization"].encode() + request.body], then=http_server.Then.CLOSE)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (echo(401), 1), (echo(403), 1), (echo(500), 1), (echo(404), 2),
        (echo(302, ("Location", f"http://x:{quote(WRITE_KEY, safe='')}@127.0.0.1:9/")), 2), (page, 1), (no_http, 1),
        (http_server.always(http_server.RESET), 1),
        (in_turn(echo(429, ("Retry-After", WRITE_KEY)), echo(503, ("Retry-After", "1")), echo(401)), 1),
    ],
    ids=["401", "403", "500", "404", "302", "page", "no HTTP", "reset", "pauses"],
)  # fmt: skip
def test_api(syncer: CommandLine, script: Script, code: int) -> None:
    """An API that refuses, fails or is another, and repeats everything, gets nothing told."""
    with serving(script) as server:
        # until every form was repeated
        while len(server.requests) < 8:
            fails(syncer, "mapping rooms: ", codes=(code,), ENDPOINT=server.endpoint)


def test_nobody_listens(syncer: CommandLine) -> None:
    """A refused connection tells host and port and nothing else."""
    fails(syncer, "no connection to 127.0.0.1:9", ENDPOINT="http://127.0.0.1:9")


def test_refused_objects(syncer: CommandLine) -> None:
    """A refused object is in its dead letter, and is shown when asked for; elsewhere, and of the key, nothing is."""
    with serving(echo(400)) as server:
        syncer.environment["ENDPOINT"] = server.endpoint
        fails(syncer, "refused and stored as", codes=(3,), command="run --full")
        assert letters_in(syncer.folder / "syncer.db") == 2
        for command in ("dead-letters list", "dead-letters list --output json", "dead-letters retry", "status",
                        "runs", "state show", "state export", "run --dry-run"):  # fmt: skip
            for style in STYLES:
                told = syncer(*style, *command.split())
                assert told.code in (0, 3), (command, told)
                assert_tells_nothing(told, syncer.folder)
        numbers = [each["number"] for each in json.loads(syncer("dead-letters", "list", "--output", "json").out)[
            "dead_letters"]]  # fmt: skip
        shown = [syncer("-v", "dead-letters", "show", str(number)) for number in numbers]
    for told in shown:
        assert_tells_nothing(told, syncer.folder, shows_objects=True)
    assert values_in("".join(told.out for told in shown).encode())


def test_all_is_well(syncer: CommandLine) -> None:
    """Where nothing goes wrong nothing is told either, whatever is asked; a preview shows the objects, not the key."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer.environment["ENDPOINT"] = server.endpoint
        for command in ("run", "run --full --resend --output json", "run --dry-run", "status", "runs",
                        "state show", "state export", "check --exclude spare", "schema"):  # fmt: skip
            told = syncer("-v", *command.split())
            assert_tells_nothing(told, syncer.folder)
        previewed = syncer("-v", "preview", "rooms")
    assert values_in(previewed.out.encode())
    assert_tells_nothing(previewed, syncer.folder, shows_objects=True)


# --- the state


def corrupt(path: Path) -> None:
    """Its middle is noise."""
    content = bytearray(path.read_bytes())
    content[100:-100] = bytes(len(content) - 200)
    path.write_bytes(bytes(content))


def foreign(path: Path) -> None:
    """Something else than a database."""
    path.write_text("hosts, rooms, reviews\n" * 100)


def folder(path: Path) -> None:
    """Not even a file."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [corrupt, foreign, folder])
def test_damaged_state(syncer: CommandLine, damage: Callable[[Path], None]) -> None:
    """A state that cannot be used is told as such."""
    state = syncer.folder / "syncer.db"
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        assert syncer("run", ENDPOINT=server.endpoint).code == 0
        for each in syncer.folder.glob("syncer.db-*"):
            each.unlink()
        damage(state)
        fails(syncer, codes=(1, 2), ENDPOINT=server.endpoint)
        fails(syncer, codes=(1, 2), command="status", ENDPOINT=server.endpoint)


@pytest.mark.skipif(not rounds(0, 1), reason="waits ten seconds for the lock: in the long form")
def test_locked_state(syncer: CommandLine) -> None:
    """A state that another holds locked for too long is told as such."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer("run", ENDPOINT=server.endpoint)
        with closing(sqlite3.connect(syncer.folder / "syncer.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            told = syncer("-v", "run", ENDPOINT=server.endpoint)
            other.execute("ROLLBACK")
    assert told.code == 1
    assert_tells_nothing(told, syncer.folder)


def test_read_only_state(syncer: CommandLine, postgres_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """A state that may only be read is told as such."""
    database = make_url(postgres_url).database
    secret = make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False)
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        assert syncer("run", ENDPOINT=server.endpoint, STATE_URL=secret).code == 0
        execute_sql(postgres_url, f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
        fails(syncer, ENDPOINT=server.endpoint, STATE_URL=secret)


def test_held_lease(syncer: CommandLine) -> None:
    """A lease that another holds is told with its owner."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer("run", ENDPOINT=server.endpoint)
        with closing(open_store(f"sqlite:///{syncer.folder / 'syncer.db'}")) as store:
            store.acquire("rooms", "elsewhere:1:x", datetime.now(UTC), timedelta(hours=1))
            fails(syncer, "mapping rooms", codes=(4,), ENDPOINT=server.endpoint)


# --- the end of a process


@contextmanager
def stalled(syncer: CommandLine, *arguments: str) -> Iterator[tuple[Callable[[int], None], list[Told]]]:
    """A command whose first request is not answered; what it said when it ended."""
    told: list[Told] = []
    slow = Reply(parts=http_server.ACCEPTED.parts, delay=2)
    with (
        serving(http_server.always(slow)) as server,
        syncer.started(*arguments, ENDPOINT=server.endpoint) as process,
    ):
        until(lambda: server.requests, process)
        yield process.send_signal, told
        told.append(end_of(process))


@pytest.mark.parametrize("style", STYLES[: rounds(2, 4)], ids=" ".join)
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGKILL]],
    ids=["SIGINT", "SIGTERM", "SIGINT twice", "SIGKILL"],
)
def test_signals(syncer: CommandLine, signals: Sequence[signal.Signals], style: list[str]) -> None:
    """However a run ends, nothing is told, and nothing is left in the state."""
    with stalled(syncer, *style, "run") as (send, ends):
        for number in signals:
            send(number)
    assert ends[0].code != 0
    assert_tells_nothing(ends[0], syncer.folder)


def test_serve(syncer: CommandLine) -> None:
    """A daemon whose key is refused, and which goes on, tells nothing."""
    syncer.write("syncer.yaml", CONFIG + ROOMS.replace("}\n", ", schedules: [{every: 1s}]}\n"))
    with (
        serving(echo(401)) as server,
        syncer.started("-v", "serve", "--port", "0", ENDPOINT=server.endpoint) as process,
    ):
        until(lambda: len(server.requests) >= 2, process)
        process.terminate()
        told = end_of(process)
    assert "refuses the write key" in told.err
    assert_tells_nothing(told, syncer.folder)


# --- the config


def _changed(old: str, new: str) -> str:
    assert old in CONFIG
    return CONFIG.replace(old, new) + ROOMS


CONFIGS = {
    "no end of quotes": _changed('"${WRITE_KEY}"', f"'{WRITE_KEY}"),
    "no end of braces": _changed('"${WRITE_KEY}", ', f"{json.dumps(WRITE_KEY)} "),
    "no blank behind a colon": _changed('write_key: "${WRITE_KEY}"', f"write_key:{WRITE_KEY[:15]}"),
    "a list": _changed('"${WRITE_KEY}"', f"[{json.dumps(WRITE_KEY)}]"),
    "an anchor": _changed('"${WRITE_KEY}"', f"*{WRITE_KEY[:15]}"),
    "a tag": _changed('"${WRITE_KEY}"', f"!{WRITE_KEY[:15]} x"),
    "a blank": _changed('"${WRITE_KEY}"', json.dumps(f"{WRITE_KEY} {WRITE_KEY}")),
    "another key": _changed("write_key", "writekey"),
    "a key as a region": _changed("endpoint", f"region: {json.dumps(WRITE_KEY)}, endpoint"),
    "a key as a duration": _changed("1s", json.dumps(WRITE_KEY)),
    "a key twice": _changed("retry_for", f"write_key: {json.dumps(WRITE_KEY)}, retry_for"),
    "a url without a scheme": _changed('"${SPARE_URL}"', json.dumps(f"reader:{PASSWORD}@127.0.0.1/app")),
    "a password that is not encoded": _changed('"${SPARE_URL}"', json.dumps(f"postgresql://reader:{PASSWORD}@h:x/app")),
    "a url with a bad port": _changed('"${SPARE_URL}"', f"postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1:port/app"),
    "a url of no driver": _changed("${SOURCE_URL:-sqlite:///app.db}", f"nosql://reader:{PASSWORD_IN_URL}@127.0.0.1/a"),
    "a url of parts": _changed('"${SPARE_URL}"', f"{{password: {json.dumps(PASSWORD)}}}"),
    "a url as a name": _changed("source: app", f"source: postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1/app"),
    "an endpoint with a password": _changed('"${ENDPOINT}"', f"https://reader:{PASSWORD_IN_URL}@example.com"),
    "a state url without a scheme": _changed('"${STATE_URL:-sqlite:///syncer.db}"', json.dumps(PASSWORD)),
    "a variable of this name": _changed('"${WRITE_KEY}"', f'"${{{WRITE_KEY}}}"'),
    "a variable with a bad default": _changed('"${WRITE_KEY}"', f'"${{ABSENT:?{WRITE_KEY}}}"'),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_config(syncer: CommandLine, name: str) -> None:
    """A config that cannot be used, with the secrets written into it, is told without them."""
    syncer.write("syncer.yaml", CONFIGS[name])
    fails(syncer, codes=(1, 2), ENDPOINT="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "line",
    [f"WRITE_KEY {WRITE_KEY}", f'WRITE_KEY="{WRITE_KEY}', f"{WRITE_KEY}", f"={PASSWORD}"],
    ids=["no sign", "no end of quotes", "no name", "an empty name"],  # the folder is named after it
)
def test_dotenv(syncer: CommandLine, line: str) -> None:
    """A `.env` file with a line that cannot be read is told without the line."""
    del syncer.environment["WRITE_KEY"]
    syncer.write(".env", line + "\n")
    fails(syncer, codes=(1, 2), ENDPOINT="http://127.0.0.1:9")


# --- the judge


@pytest.mark.parametrize("secret", [WRITE_KEY, PASSWORD])
def test_the_judge(secret: str) -> None:
    """All of this rests on it: a secret is recognised raw, in a URL, in JSON, in base64 wherever it begins, in part."""
    raw = secret.encode()
    told = [raw, quote(secret).encode(), json.dumps({"x": secret}).encode(), raw[:20], raw[-20:], raw.hex().encode()]
    told += [base64.b64encode(b"user:"[:skip] + raw + b":") for skip in range(4)]
    assert [text for text in told if not secrets_in(text)] == []
    assert values_in(json.dumps({"x": VALUE}).encode())
    assert values_in(VALUE.encode("utf-8"))
    assert secrets_in(b"rooms") == values_in(b"rooms") == []


def test_the_judge_of_states(tmp_path: Path) -> None:
    """Of a state the dead letters are left out, and nothing else is."""
    with closing(sqlite3.connect(tmp_path / "syncer.db")) as connection:
        connection.execute("CREATE TABLE syncer_dead_letters (x)")
        connection.execute("INSERT INTO syncer_dead_letters VALUES (?)", (VALUE,))
        connection.commit()
        assert values_in(state_without_letters(tmp_path / "syncer.db")) == []
        connection.execute("CREATE TABLE syncer_runs (x)")
        connection.execute("INSERT INTO syncer_runs VALUES (?)", (VALUE,))
        connection.commit()
    assert values_in(state_without_letters(tmp_path / "syncer.db"))
