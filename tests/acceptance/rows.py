"""Commands in a used folder that are one row each: bad input, help, findings of `check`; and how a row is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support import CONFIG, CommandLine, Told, progress

from syncer.cli.app import COMMANDS

LETTERS = "  letters: {table: letters, watermark: updatedAt}\n"
HOURLY = CONFIG.replace("tags: [people]", "schedules: [{every: 1h}]")
NOWHERE = {"SOURCE_URL": "postgresql://reader:pw-canary@127.0.0.1:9/app"}
STATE_NOWHERE = {"STATE_URL": "postgresql://keeper:pw-canary@127.0.0.1:9/state"}
ODD = ["run", "--select", "odd"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A command, and what must be said to it."""

    name: str
    arguments: list[str]
    code: int
    words: list[str]
    config: str = CONFIG
    environment: Mapping[str, str] = field(default_factory=dict)
    #: it comes as far as sending, and what is about to be sent is no longer known as sent
    sends: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was said, and the progress in the state before and after."""

    told: Told
    before: dict[str, list[tuple[Any, ...]]]
    after: dict[str, list[tuple[Any, ...]]]


def ask(syncer: CommandLine, row: Row) -> Answer:
    """Run the row's command in a folder of its own."""
    state = syncer.folder / "syncer.db"
    syncer.write("syncer.yaml", row.config)
    before = progress(state)
    told = syncer(*row.arguments, **row.environment)
    return Answer(told=told, before=before, after=progress(state))


def usage(line: str, *words: str, code: int = 2, **environment: str) -> Row:
    """A command line that cannot be meant, for a good config."""
    return Row(name=line, arguments=line.split(), code=code, words=list(words), environment=environment)


def config(name: str, mapping: str, *words: str) -> Row:
    """A config with a mistake in its last mapping, which stands in line 17."""
    return Row(name=f"config: {name}", arguments=["run"], code=2, words=list(words), config=f"{CONFIG}  {mapping}\n")


def mapping(name: str, keys: str, *words: str, code: int = 2) -> Row:
    """A mapping `odd` that does not fit its database."""
    return Row(name=f"mapping: {name}", arguments=ODD, code=code, words=["mapping odd: ", *words],
               config=f"{CONFIG}  odd: {{{keys}}}\n")  # fmt: skip


def unreachable(line: str, environment: Mapping[str, str], *words: str) -> Row:
    """A server that does not answer, under a good config."""
    (server,) = environment
    return Row(name=f"unreachable {server}: {line}", arguments=line.split(), code=1, words=list(words),
               config=HOURLY + LETTERS, environment=environment)  # fmt: skip


USAGE = [
    usage("rum", "there is no command 'rum'", "Try: syncer run"),
    usage("synchronise", "there is no command 'synchronise'", "Try: syncer --help"),
    usage("run --ful", "--ful", "Did you mean '--full'?", "Try: syncer run --help"),
    usage("run --from 2026-01-01 --full", "--from and --to do not go with --full"),
    usage("run --select room", "there is no mapping `room`", "did you mean `rooms`?"),
    usage("run --select tag:cores", "no mapping has the tag `cores`", "did you mean `core`?"),
    usage("run --select rooms --exclude tag:core", "leaves no mapping"),
    usage("run --output json --select attics", "there is no mapping `attics`"),
    usage("sandbox --db app.db", "app.db cannot be the warehouse"),
    usage("serve", "no mapping has a schedule", "schedules:"),
    usage("runs room", "there is no mapping `room`"),
    usage("state set rooms", "--watermark VALUE or --adopt"),
    usage("state set rooms --watermark yesterday", "'yesterday' is no time"),
    usage("dead-letters show 99", "there is no dead letter 99", "Try: syncer dead-letters list"),
    usage("dead-letters discard", "say which dead letters"),
    usage("sandbox --fail 2", "--fail", "Try: syncer sandbox --help"),
    usage("sandbox --host 0.0.0.0 --port 0", "open to the network", "write key"),
    usage("-c absent.yaml run", "the file absent.yaml, which -c names, does not exist"),
    usage("run", "the file absent.yaml, which $SYNCER_CONFIG names, does not exist", SYNCER_CONFIG="absent.yaml"),
]

CONFIGS = [
    config("no end", "odd: {table: letters", "syncer.yaml:18: this is not YAML: expected ',' or '}'"),
    config("tab", "odd:\n\t  table: letters", "syncer.yaml:18: this is not YAML", "tabs"),
    config("unknown key", "odd: {table: letters, watermrak: id}", ":17: mappings.odd.watermrak", "mean `watermark`?"),
    config("duration", "odd: {table: letters, refresh_after: soon}", ":17: mappings.odd.refresh_after", "duration"),
    config("text for a list", "odd: {table: letters, tags: core}", ":17: mappings.odd.tags", "a list"),
    config("unknown word", "odd: {table: letters, send: change}", ":17: mappings.odd.send", "did you mean `changed`?"),
    config("digits", "odd: {table: letters, collection: l2}", ":17: mappings.odd.collection", "lowercase letters and"),
    config("digits in the name", "odd2: {table: letters}", ":17: mappings.odd2", "Try: set `collection`"),
    config("variable", "odd: {table: '${TABLE}'}", ":17: mappings.odd.table", "the variable TABLE is not set"),
    config("unknown source", "odd: {table: letters, source: apps}", ":17: mappings.odd.source", "did you mean `app`?"),
    config("name twice", "rooms: {table: rooms}", ":17: mappings.rooms", "12"),
]

MAPPINGS = [
    mapping("no table", "table: leters", "there is no table leters", "did you mean letters?"),
    mapping("no key", "table: keyless", "keyless has no primary key", "primary_key"),
    mapping("limit", "query: SELECT id FROM letters LIMIT 5, primary_key: id", "its own LIMIT", "syncer run --limit"),
    mapping("statements", "query: 'SELECT id FROM letters; SELECT 1', primary_key: id", "several statements"),
    mapping("delete", "query: DELETE FROM letters, primary_key: id", "does not begin with SELECT"),
    mapping("key column", "table: letters, primary_key: ident", "primary_key ident is no column", "did you mean id?"),
    mapping("watermark column", "table: letters, watermark: changed_at", "watermark changed_at is no column"),
    mapping("colliding", "table: colliding", "'hostID' and 'host_id' both become the property 'host_id'", "rename"),
    mapping("properties", "table: letters, properties: {bodi: {drop: true}}", "does not return: bodi", "body"),
    mapping("ids twice", "table: twice, primary_key: id", "(id) is not unique", "1 id has more than one row"),
    mapping("column", "query: SELECT nome FROM hosts, primary_key: id", "no such column: nome", code=1),
    mapping("syntax", "query: SELECT id FROM FROM hosts, primary_key: id", 'near "FROM": syntax error', code=1),
]

OTHERS = [
    Row(
        name="range that is no time", arguments=["run", "--from", "yesterday"], code=2,
        words=["mappings hosts, rooms: the bound 'yesterday' is no time", "Try: write it like 2026-01-31"],
    ),
    Row(
        name="range without a watermark", arguments=[*ODD, "--from", "2026"], code=2,
        words=["mapping odd has no watermark"], config=CONFIG + "  odd: {table: letters}\n",
    ),
    Row(
        name="query changed since the checkpoint", arguments=["run", "--select", "rooms"], code=2,
        words=["mapping rooms: the query, watermark, key", "changed since the checkpoint", "--full", "--adopt"],
        config=CONFIG.replace("reviewCount, ", ""),
    ),
    Row(
        name="no database file", arguments=["run"], code=1, words=["mappings hosts, rooms: ", "no database file"],
        environment={"SOURCE_URL": "sqlite:///absent.db"},
    ),
    *(
        unreachable(line, NOWHERE, "source app: no connection to 127.0.0.1:9/app")
        for line in ("-v run", "check", "preview hosts", "dead-letters retry")
    ),
    *(
        unreachable(line, STATE_NOWHERE, "127.0.0.1:9/state cannot be reached")
        for line in ("-v run", "-v --log-format json serve", "status")
    ),
    Row(
        name="state in a folder that is not there", arguments=["run"], code=1, words=["there is no folder", "mkdir -p"],
        environment={"STATE_URL": "sqlite:///absent/syncer.db"},
    ),
    *(
        Row(
            name=f"state of another application: {command}", arguments=command.split(), code=1, config=HOURLY,
            words=["app.db is a database of another application"], environment={"STATE_URL": "sqlite:///app.db"},
        )
        for command in ("run", "status")
    ),
    *(
        Row(
            name=f"problems in secrets: {' '.join(options)}", arguments=[*options, "run"], code=2,
            words=["sources.app.url", "destination.write_key", "destination.endpoint", "retry_fro", "state.url"],
            config=CONFIG.replace("retry_for:", "retry_fro:"),
            environment={
                "SOURCE_URL": "postgresql//reader:pw-canary@127.0.0.1/app", "WRITE_KEY": "key canary",
                "ENDPOINT": "https://user:canary@example.com", "STATE_URL": "canary",
            },
        )
        for options in ([], ["-v", "--log-format", "json"])
    ),
]  # fmt: skip

#: a run waits minutes for an API it has heard from, but not for one that never answered
UNREACHABLE = Row(
    name="unreachable endpoint", arguments=["run", "--resend", "--select", "hosts"], code=1,
    words=["mapping hosts: no connection to 127.0.0.1:"], environment={"RETRY_FOR": "1h"}, sends=True,
)  # fmt: skip

BAD_INPUT = [*USAGE, *CONFIGS, *MAPPINGS, *OTHERS, UNREACHABLE]

HELP = [usage(f"{name} --help", code=0) for name in COMMANDS]


def finding(keys: str, *words: str, code: int = 2) -> Row:
    """A mapping `odd` that `check` has something to say about, between others."""
    return Row(name=f"check {keys}", arguments=["check", "--exclude", "rooms"], code=code, words=list(words),
               config=f"{CONFIG}  odd: {{{keys}}}\n  even: {{table: reviews}}\n")  # fmt: skip


FINDINGS = [
    finding("table: twice, primary_key: id", "error    key id: 1 id has more than one row"),
    finding("table: null_keys, primary_key: id", "error    key id: NULL in 1 row"),
    finding("table: colliding", "error ", "'hostID' and 'host_id' both become"),
    finding("table: leters", "error ", "there is no table leters", "Try: did you mean letters?"),
    finding("table: letters, watermark: {column: updatedAt, lookback: 5}", "error ", "has no unit", "`lookback: 5s`"),
    finding("table: letters", "warning ", "1 of the first 2 rows would be refused: VALUE_TOO_LARGE", code=0),
]
