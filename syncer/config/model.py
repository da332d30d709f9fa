"""The file's keys: what each holds and why one would write it. pydantic is known to the files of keys only.

Values come in as text (see `document`); `scalars` reads them. What takes more than one key to tell is in `relations`.
The descriptions are what editors show and what `config.example.yaml` is checked against.
"""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

from syncer.config import scalars
from syncer.config.keys import DURATION, Duration, Keys, Share
from syncer.config.notification_keys import NotificationsKeys

_SIZE = {"type": "string", "pattern": r"^[0-9]+ ?(B|KB|MB|GB)$|^\$\{.*\}$", "examples": ["500KB", "16MB"]}

_CLOCK_TIME = {"type": "string", "pattern": r"^[0-9]{1,2}:[0-9]{2}$|^\$\{.*\}$", "examples": ["22:00"]}
_DAYS = {"type": "string", "examples": ["mon-fri", "sat,sun"]}

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Boolean: TypeAlias = Annotated[bool, BeforeValidator(scalars.boolean)]
PartSize: TypeAlias = Annotated[int, BeforeValidator(scalars.part_size), WithJsonSchema(_SIZE)]
Lookback: TypeAlias = Annotated[
    timedelta | int,
    BeforeValidator(scalars.lookback),
    WithJsonSchema({"anyOf": [DURATION, {"type": "integer", "minimum": 0}]}),
]
Timezone: TypeAlias = Annotated[str, BeforeValidator(scalars.timezone), WithJsonSchema({"type": "string"})]
DatabaseUrl: TypeAlias = Annotated[SecretStr, BeforeValidator(scalars.database_url)]
PropertyType: TypeAlias = Literal[
    "text", "string", "integer", "float", "decimal", "boolean", "timestamp", "date", "json"
]


class SourceKeys(Keys):
    """One database to read."""

    url: DatabaseUrl = Field(
        description="SQLAlchemy URL of the database to read, best as a variable: it holds a password."
    )
    timezone: Timezone = Field(
        default="UTC",
        description="Zone of timestamps that the database stores without one, so that they become instants.",
    )


class BulkKeys(Keys):
    """Where and how the Bulk API is used."""

    endpoint: Annotated[str, BeforeValidator(scalars.endpoint)] | None = Field(
        default=None, description="Base URL of the Bulk API; needed in `dublin`, where Segment documents none."
    )
    threshold: Annotated[int, Field(ge=1), BeforeValidator(scalars.integer)] = Field(
        default=10_000, description="With `api: auto`, a run that is to send as many objects uses the Bulk API."
    )
    part_size: PartSize = Field(
        default="16MB",
        validate_default=True,
        description="Uncompressed size of an upload; smaller where a proxy in between takes no more.",
    )


class DestinationKeys(Keys):
    """The Segment source that objects go to."""

    write_key: Annotated[SecretStr, BeforeValidator(scalars.write_key)] = Field(
        description="Write key of the Segment source (Settings > API Keys), best as a variable."
    )
    id: Annotated[str, BeforeValidator(scalars.destination_id)] | None = Field(
        default=None,
        description="Keeps what was sent known when the write key is rotated; `syncer check` tells it beforehand.",
    )
    region: Literal["oregon", "dublin"] = Field(
        default="oregon", description="Where the workspace stores its data; the wrong one loses objects."
    )
    endpoint: Annotated[str, BeforeValidator(scalars.endpoint)] | None = Field(
        default=None, description="Base URL used instead of the region's, such as a proxy's or `syncer sandbox`'s."
    )
    api: Literal["objects", "bulk", "auto"] = Field(
        default="auto",
        description="Objects API for steady changes, Bulk API for large loads, or whichever fits the run.",
    )
    bulk: BulkKeys = Field(
        default={}, validate_default=True, description="The Bulk API: where it is, when and how it is used."
    )
    synchronous: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether Segment applies a request before it answers: slower, but updates keep their order.",
    )
    max_in_flight: Annotated[int, Field(ge=1, le=1000), BeforeValidator(scalars.integer)] = Field(
        default=16, description="Requests at once; lower it to be gentle, raise it while requests wait on the network."
    )
    requests_per_second: Annotated[float, Field(gt=0), BeforeValidator(scalars.number)] | None = Field(
        default=None, description="Ceiling shared by all mappings, to leave room for others in the workspace."
    )
    retry_for: Duration = Field(
        default="5m", validate_default=True, description="A run gives up after this long without one accepted request."
    )
    budget: Annotated[int, Field(ge=0), BeforeValidator(scalars.integer)] | None = Field(
        default=None,
        description="Objects to be sent in a calendar month, UTC: `syncer plan` warns when a run would exceed it.",
    )
    run_records: Text | None = Field(
        default=None,
        description="Collection that every run is added to as an object, so that freshness stands beside the data.",
    )


class StateKeys(Keys):
    """Where checkpoints, fingerprints, dead letters and the history of runs are kept."""

    url: DatabaseUrl = Field(
        default="sqlite:///syncer.db",
        validate_default=True,
        description="SQLAlchemy URL of the state; PostgreSQL when syncer runs on several hosts.",
    )


def _column_only(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class WatermarkKeys(Keys):
    """How a mapping finds what changed."""

    column: Text = Field(description="Column that grows with every change, such as `updated_at`; best with an index.")
    lookback: Lookback | None = Field(
        default=None,
        description="Read again this far behind the last run, for rows that are committed late; a number for integers.",
    )
    initial: Annotated[Text, WithJsonSchema({"type": ["string", "integer", "number"]})] | None = Field(
        default=None, description="Where the first run starts, to leave old rows out."
    )
    nulls: Literal["include", "skip", "error"] = Field(
        default="include",
        description="What happens to rows without a watermark: read on every run, left out, or refused.",
    )


def _mode_only(value: object) -> object:
    return {"mode": scalars.deletes(value)} if isinstance(value, str) else value


class DeletesKeys(Keys):
    """What becomes of objects whose rows are gone. Full runs only: nothing else sees that a row is missing."""

    mode: Literal["ignore", "tombstone"] = Field(
        default="tombstone", description="Leave them as they are, or mark them as deleted."
    )
    is_deleted: Annotated[str, BeforeValidator(scalars.property_name)] = Field(
        default="is_deleted", description="Property that is true on a tombstone and false on every other object."
    )
    deleted_at: Annotated[str, BeforeValidator(scalars.property_name)] = Field(
        default="deleted_at", description="Property that says when the run began which missed the row."
    )
    max_share: Share = Field(
        default="20%",
        validate_default=True,
        description="Send no tombstone, and fail, when more than this part of the known objects vanished at once.",
    )


class ScheduleKeys(Keys):
    """When `syncer serve` runs a mapping: `cron` or `every`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["cron"]}, {"required": ["every"]}]})

    cron: Annotated[str, BeforeValidator(scalars.cron)] | None = Field(
        default=None, description="Five fields as in crontab, to run at times of the day.", examples=["0 2 * * *"]
    )
    every: Duration | None = Field(default=None, description="Interval between runs, to run at no particular time.")
    mode: Literal["incremental", "full"] = Field(
        default="incremental",
        description="Read what changed, or everything, which also finds missed changes and deletions.",
    )
    timezone: Timezone = Field(
        default="UTC", description="Zone in which `cron` tells the time, daylight saving included."
    )
    jitter: Duration | None = Field(
        default=None,
        description="Begin up to this much later, always the same for one fire, so that not all begin at once.",
    )


class BlackoutKeys(Keys):
    """A time of day at which schedules begin no run; what is due then runs once, at its end."""

    from_: Annotated[time, BeforeValidator(scalars.clock_time), WithJsonSchema(_CLOCK_TIME)] = Field(
        alias="from", description="Local time at which it begins."
    )
    to: Annotated[time, BeforeValidator(scalars.clock_time), WithJsonSchema(_CLOCK_TIME)] = Field(
        description="Local time at which it ends; on the next day, unless it is later than `from`."
    )
    days: Annotated[frozenset[int], BeforeValidator(scalars.weekdays), WithJsonSchema(_DAYS)] = Field(
        default="*", validate_default=True, description="Days on which it begins, such as `mon-fri`; else all."
    )
    timezone: Timezone = Field(default="UTC", description="Zone of `from`, `to` and `days`, daylight saving included.")


class PropertyKeys(Keys):
    """What is changed about one property, named as the query's column or as the property."""

    rename: Annotated[str, BeforeValidator(scalars.property_name)] | None = Field(
        default=None, description="Another name in the warehouse than the column has."
    )
    type: PropertyType | None = Field(
        default=None, description="Type to send it as, where the SQL type is not what the warehouse should get."
    )
    drop: Boolean = Field(default=False, description="Leave it out, where the query or table brings more than wanted.")
    mask: Literal["hash", "redact"] | None = Field(
        default=None, description="Keep personal data back: a digest that can still be joined on, or a constant."
    )
    flatten: Boolean = Field(default=False, description="Make a property of each key of a JSON object.")
    retired: Annotated[Literal[True] | None, BeforeValidator(scalars.retired), WithJsonSchema({"type": "null"})] = (
        Field(default=None, description="The query no longer returns it: `null` clears it downstream, once.")
    )


def _names(value: object) -> object:
    if value == []:
        raise ValueError("expected at least one mapping")
    return [value] if isinstance(value, str) else value


def _columns(value: object) -> object:
    if value == []:
        raise ValueError("expected at least one column")
    return [value] if isinstance(value, str) else value


class MappingKeys(Keys):
    """One query, and the collection it becomes."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "anyOf": [
                    {"required": ["query", "query_file"]},
                    {"required": ["query", "table"]},
                    {"required": ["query_file", "table"]},
                ]
            }
        }
    )

    source: Text | None = Field(
        default=None, description="Which of `sources` to read; may be left out when there is one."
    )
    query: Text | None = Field(default=None, description="SELECT statement whose rows become objects.")
    query_file: Text | None = Field(
        default=None,
        description="File with the SELECT statement, relative to this one, for SQL kept in files of its own.",
    )
    table: Text | None = Field(default=None, description="Table or view to read whole, when no SQL is needed.")
    collection: Text | None = Field(
        default=None, description="Segment collection, and so the warehouse table; the mapping's name unless written."
    )
    primary_key: (
        Annotated[
            tuple[Text, ...],
            BeforeValidator(_columns, json_schema_input_type=Text | Annotated[list[Text], Field(min_length=1)]),
        ]
        | None
    ) = Field(
        default=None, description="Column or columns whose value becomes the object's id; with `table`, its own key."
    )
    watermark: (
        Annotated[WatermarkKeys, BeforeValidator(_column_only, json_schema_input_type=Text | WatermarkKeys)] | None
    ) = Field(
        default=None,
        description="Column that tells what changed, or its long form; without it every run reads everything.",
    )
    schedules: tuple[ScheduleKeys, ...] = Field(
        default=(),
        description="When `syncer serve` runs it; several are usual, such as hourly changes and a nightly full run.",
    )
    after: (
        Annotated[
            tuple[Text, ...],
            BeforeValidator(_names, json_schema_input_type=Text | Annotated[list[Text], Field(min_length=1)]),
        ]
        | None
    ) = Field(
        default=None,
        description="Mapping or mappings that go first when both are due; without schedules it runs after each good "
        "run of theirs, in the same mode.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="A run that lasts longer is stopped in order, its progress is saved, and it counts as failed.",
    )
    blackouts: tuple[BlackoutKeys, ...] = Field(
        default=(),
        description="Times at which `syncer serve` begins no run of it; a run that is going on then goes on.",
    )
    send: Literal["changed", "all"] = Field(
        default="changed", description="Send only objects that differ from what was sent before, or all that were read."
    )
    refresh_after: Duration = Field(
        default="50d",
        validate_default=True,
        description="Send an unchanged object again after this long: Segment forgets objects that are never updated.",
    )
    deletes: Annotated[
        DeletesKeys, BeforeValidator(_mode_only, json_schema_input_type=Literal["ignore", "tombstone"] | DeletesKeys)
    ] = Field(
        default="ignore",
        validate_default=True,
        description="Whether a full run marks objects whose rows are gone with `is_deleted`, or its long form.",
    )
    max_objects_per_run: Annotated[int, Field(ge=0), BeforeValidator(scalars.integer)] | None = Field(
        default=None, description="Send nothing, and fail, when a run would send more objects: each one is billed."
    )
    max_change_ratio: Share | None = Field(
        default=None,
        description="Send nothing, and fail, when a run would change a larger part of the known objects.",
    )
    max_lag: Duration | None = Field(
        default=None, description="Tell, by `notifications`, when the last run that succeeded began longer ago."
    )
    max_deviation: Share | None = Field(
        default=None,
        description="Tell, by `notifications`, when a full run reads that much more or fewer rows than usual.",
    )
    nulls: Literal["send", "omit"] = Field(
        default="send", description="Send NULL so that the warehouse column is cleared, or leave the property out."
    )
    properties: dict[str, PropertyKeys] = Field(
        default={}, description="What to change about single properties; everything else follows from the SQL types."
    )
    # a model has a method of this name
    schema_: Literal["evolve", "warn", "freeze"] = Field(
        default="warn",
        alias="schema",
        description="When a property is new, gone or of another type than before: go along, tell it, or send nothing.",
    )
    tags: tuple[Annotated[str, BeforeValidator(scalars.tag)], ...] = Field(
        default=(), description="Names for groups of mappings, for `syncer run --select tag:core`."
    )


class ServeKeys(Keys):
    """How `syncer serve` works."""

    concurrency: Annotated[int, Field(ge=1, le=1000), BeforeValidator(scalars.integer)] = Field(
        default=4, description="Mappings running at once; they share the requests in flight of the write key."
    )
    host: Annotated[str, BeforeValidator(scalars.host)] = Field(
        default="127.0.0.1",
        description="Address that the status page listens on; another than this host's own needs a `token`.",
    )
    port: Annotated[int, Field(ge=0, le=65_535), BeforeValidator(scalars.integer)] = Field(
        default=8080, description="Port of the status page; 0: any that is free."
    )
    token: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None,
        description="Secret that actions on the page ask for, and everything off this host; best as a variable.",
    )
    hosts: tuple[Annotated[str, BeforeValidator(scalars.served_name)], ...] = Field(
        default=(),
        description="Further names under which browsers reach the status page, such as a proxy's; they take the token.",
    )
    stuck_after: Duration = Field(
        default="15m",
        validate_default=True,
        description="A run that reads, sends and saves nothing for this long is told of as stuck.",
    )


class FileKeys(Keys):
    """Configuration of syncer: which queries become which Segment collections."""

    version: Annotated[Literal[1], BeforeValidator(scalars.integer)] = Field(
        description="Version of this format, so that a later syncer knows how to read the file."
    )
    sources: dict[str, SourceKeys] = Field(description="Databases to read, by a name of your own.", min_length=1)
    destination: DestinationKeys = Field(description="The Segment source that objects go to.")
    state: StateKeys = Field(
        default={},
        validate_default=True,
        description="Where syncer remembers what it did; lose it and everything is sent again.",
    )
    serve: ServeKeys = Field(
        default={}, validate_default=True, description="The daemon: how much it does at once, and its status page."
    )
    notifications: NotificationsKeys = Field(
        default={}, validate_default=True, description="Who is told without looking, and of what."
    )
    defaults: MappingKeys = Field(
        default={},
        validate_default=True,
        description="Keys of a mapping that hold for all mappings which do not write them.",
    )
    mappings: dict[str, MappingKeys] = Field(
        description="What to keep equal, by name; the name is also the job's in commands, state and metrics.",
        min_length=1,
    )
