"""From a survey to a starter config: what is suggested, and that the text is a config for names of any kind."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from campaign import rounds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncer.config import Config, load_config
from syncer.config.quoting import quoted
from syncer.config.starter import Starter, starter
from syncer.config.suggest import collection_name, key_of, obstacle, property_changes, slug, watermarks
from syncer.config.surveyed import Survey, SurveyedColumn, SurveyedTable
from syncer.core.calendar import parse_cron
from syncer.core.model import Column, Kind, Mode
from syncer.core.naming import RESERVED_PROPERTIES, collection_problem
from syncer.core.properties import properties_of

ENVIRON = {"APP_DATABASE_URL": "sqlite:///app.db", "SEGMENT_WRITE_KEY": "key"}
ID = SurveyedColumn(name="id", kind=Kind.INTEGER, nullable=False)


def column(name: str, kind: Kind = Kind.TEXT, *, nullable: bool = False) -> SurveyedColumn:
    """A column."""
    return SurveyedColumn(name=name, kind=kind, nullable=nullable)


def table(name: str, *columns: SurveyedColumn, key: tuple[str, ...] = ("id",), **more: object) -> SurveyedTable:
    """A table with a column `id` and a column `name`, and these."""
    whole = (ID, column("name"), *columns)
    return SurveyedTable(name=name, columns=whole, primary_key=key, **{"indexed": frozenset(key), **more})  # type: ignore[arg-type]


def written(*tables: SurveyedTable, **more: object) -> Starter:
    """The starter config for these tables."""
    return starter(Survey(url="sqlite:///app.db", tables=tables, **more))  # type: ignore[arg-type]


def loaded(text: str, folder: Path) -> Config:
    """The config that the text is, with both variables set."""
    path = folder / "syncer.yaml"
    path.write_text(text, "utf-8")
    return load_config(path, ENVIRON)


def mappings_of(text: str) -> str:
    """The text from the first mapping on."""
    return text.partition("\nmappings:\n")[2]


# --- the text ---------------------------------------------------------------------------------------------------------


def test_the_text_as_a_person_sees_it() -> None:
    """A table with all there is to tell, one of the plain kind, one that cannot be mapped."""
    rooms = table(
        "Rooms2",
        column("updatedAt", Kind.TIMESTAMP),
        column("modified_at", Kind.TIMESTAMP, nullable=True),
        column("hostEmail"),
        column("door password"),
        column("photo", Kind.BYTES),
        indexed=frozenset({"id", "updatedAt"}),
        rows=12_345,
    )
    log = SurveyedTable(name="log", columns=(column("line"),))
    assert (
        mappings_of(written(log, rooms, table("cities")).text)
        == """\
  rooms2:                                  # about 12,345 rows
    table: Rooms2
    collection: rooms_two                  # lowercase letters and _ only
    primary_key: id
    watermark: updatedAt                   # indexed, never NULL
    # watermark: modified_at               # or this: not indexed, may be NULL
    schedules:
      - {cron: "0 * * * *", mode: incremental}
      - {cron: "30 1 * * *", mode: full}
    properties:
      # hostEmail: {mask: hash}            # looks personal
      "door password": {drop: true}        # looks secret
      # photo: {drop: true}                # bytes go as base64; a row with 32 KB or more of it is refused

  cities:
    table: cities
    primary_key: id
    schedules:                             # no watermark: every run reads all of it
      - {cron: "37 1 * * *", mode: full}

  # --- not mapped, each with the reason; to map one, mend that and remove the `# ` ---
  # log:                                   # no primary key, and no unique one without NULLs; name the columns @
  #   table: log
  #   collection: log
  #   primary_key: line
""".replace("@", "that identify a row")
    )


def test_secrets_are_variables(tmp_path: Path) -> None:
    """The config takes URL and write key from the environment, and the endpoint where there is one."""
    text = written(table("rooms")).text
    config = loaded(text, tmp_path)
    assert config.sources["app"].url.endswith("/app.db")
    assert (config.destination.write_key, config.destination.endpoint) == ("key", "https://objects.segment.com")
    at_sandbox = load_config(tmp_path / "syncer.yaml", {**ENVIRON, "SEGMENT_ENDPOINT": "http://127.0.0.1:8765"})
    assert at_sandbox.destination.endpoint == "http://127.0.0.1:8765"


def test_other_schemas_are_named() -> None:
    """What was not looked at is told at the end."""
    text = written(table("rooms"), other_schemas=("sales", "a: b")).text
    assert text.endswith('# Other schemas, which `syncer init --schema NAME` looks at: sales, "a: b"\n')


def test_runs_begin_apart(tmp_path: Path) -> None:
    """Sixty mappings begin in sixty different minutes, and no full run begins with its own incremental one."""
    tables = [table(f"rooms_{number}", column("updated_at", Kind.INSTANT)) for number in range(120)]
    config = loaded(written(*tables).text, tmp_path)
    begins = Counter()
    for mapping in config.mappings.values():
        hourly, nightly = mapping.schedules
        assert (hourly.mode, nightly.mode) == (Mode.INCREMENTAL, Mode.FULL)
        minutes = [str(each.cron).split()[0] for each in (hourly, nightly)]
        assert minutes[0] != minutes[1]
        begins[minutes[0]] += 1
        parse_cron(str(nightly.cron))
    assert set(begins.values()) == {2}
    assert len(begins) == 60


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (table("rooms"), ("id",)),
        (table("rooms", key=()), ()),
        (table("rooms", key=("row_id",)), ()),  # a column that SELECT * leaves out
        (table("rooms", key=(), unique=(("name",),)), ("name",)),
        (table("rooms", column("code", nullable=True), key=(), unique=(("code",),)), ()),
        (table("rooms", key=(), unique=(("id", "name"), ("name",))), ("name",)),
        (table("rooms", key=("id",), unique=(("name",),)), ("id",)),
    ],
)
def test_key(given_: SurveyedTable, expected: tuple[str, ...]) -> None:
    """The primary key, or the shortest unique key that cannot be NULL; all of it returned by SELECT *."""
    assert key_of(given_) == expected


def test_a_unique_key_is_written_with_where_it_is_from() -> None:
    """Nobody should have to wonder why that is the key."""
    text = written(table("rooms", column("email"), key=(), unique=(("email",),))).text
    assert "primary_key: email                     # a unique index, for want of a primary key; email looks" in text


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (table("rooms", view=True, key=()), "a view"),
        (table("rooms", key=()), "no primary key"),
        (table("rooms", readable=False), "may not read"),
        (table("rooms", column("session_token"), key=("session_token",)), "looks secret"),
        (SurveyedTable(name="ids", columns=(ID,), primary_key=("id",)), "nothing to send"),
        (SurveyedTable(name="ids", columns=(ID, column("pwd")), primary_key=("id",)), "nothing to send"),
        (SurveyedTable(name="ids", columns=(ID, column("\udcff")), primary_key=("id",)), "not Unicode"),
        (table("rooms", column("")), "is empty"),
        (table("rooms", column("x" * 1_001)), "very long"),
        (table("rooms", schema="a.b"), "holds a dot"),
    ],
)
def test_obstacles(given_: SurveyedTable, words: str, tmp_path: Path) -> None:
    """What cannot be mapped as it stands is a comment that says why, and the rest is a config all the same."""
    assert words in str(obstacle(given_, key_of(given_)))
    result = written(given_, table("cities"))
    assert (result.mapped, result.left_out) == (("cities",), 1)
    assert words in mappings_of(result.text)
    assert list(loaded(result.text, tmp_path).mappings) == ["cities"]


def test_a_table_that_another_one_hides_is_not_mapped() -> None:
    """`sales.rooms` is the table of that very name before it is the one of the schema."""
    result = written(table("sales.rooms"), table("rooms", schema="sales"))
    assert (result.mapped, result.left_out) == (("sales_rooms",), 1)


# --- watermarks -------------------------------------------------------------------------------------------------------

UPDATED = column("updated_at", Kind.INSTANT)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([column("modified_at", Kind.TIMESTAMP), UPDATED], ["updated_at", "modified_at"]),
        # NOT NULL before the usual order
        ([column("modified_at", Kind.TIMESTAMP), column("updated_at", Kind.INSTANT, nullable=True)],
         ["modified_at", "updated_at"]),
        # a type of time before NOT NULL
        ([column("mtime", Kind.INTEGER), column("lastUpdate", Kind.DATE, nullable=True)], ["lastUpdate", "mtime"]),
        # NOT NULL before an index
        ([column("changed_at", Kind.INSTANT, nullable=True), column("modified_at", Kind.INSTANT)],
         ["modified_at", "changed_at"]),
        # an index before the usual order
        ([UPDATED, column("indexed_changed_at", Kind.INSTANT), column("changed_at", Kind.INSTANT)],
         ["changed_at", "updated_at"]),
        ([column("row_version", Kind.INTEGER)], ["? row_version"]),
        ([column("created_at", Kind.INSTANT), column("modified", Kind.INTEGER)], ["? modified", "? created_at"]),
        ([column("updated_at", Kind.TEXT), column("changed", Kind.BOOLEAN), column("mtime", Kind.FLOAT)], []),
        ([column("dates", Kind.DATE), column("updated_by", Kind.TEXT)], []),
    ],
)  # fmt: skip
def test_watermarks(columns: list[SurveyedColumn], expected: list[str]) -> None:
    """The best comes first; what may be something else is marked with doubt here."""
    found = watermarks(table("rooms", *columns, indexed=frozenset({"changed_at"})), typed=True)
    assert [f"{'? ' if each.doubt else ''}{each.column.name}" for each in found] == expected


def test_text_is_a_watermark_where_times_are_text() -> None:
    """SQLite has no type for times."""
    rooms = table("rooms", column("updated_at", Kind.TEXT))
    assert [each.column.name for each in watermarks(rooms, typed=False)] == ["updated_at"]
    assert (
        "watermark: updated_at                  # not indexed, never NULL, text, which"
        in written(rooms, typed=False).text
    )


def test_numbers_get_a_lookback(tmp_path: Path) -> None:
    """They have none of their own, and may be committed out of order."""
    config = loaded(written(table("rooms", column("mtime", Kind.INTEGER))).text, tmp_path)
    rule = config.mappings["rooms"].watermark
    assert rule is not None
    assert (rule.column, rule.lookback) == ("mtime", 1_000)


def test_a_doubtful_watermark_is_a_comment(tmp_path: Path) -> None:
    """Versions may be counted row by row, and creation says nothing of changes: then every run is full."""
    rooms = table("rooms", column("version", Kind.INTEGER), column("created_at", Kind.INSTANT))
    text = written(rooms).text
    assert "# watermark: {column: version, lookback: 1000} # only if it counts changes of the whole table" in text
    mapping = loaded(text, tmp_path).mappings["rooms"]
    assert (mapping.watermark, [each.mode for each in mapping.schedules]) == (None, [Mode.FULL])


# --- properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["password", "PasswordHash", "encrypted_password", "userpassword", "passwd", "pwd", "api_key", "apiKey", "secret",
     "client_secret", "token", "reset_token", "accessToken", "otp_secret", "salt", "CardNumber", "cvv", "private_key"],
)  # fmt: skip
def test_secrets_are_dropped(name: str, tmp_path: Path) -> None:
    """What is named like a secret is not sent unless somebody decides so; a time or a number about one is."""
    about = [column(name, Kind.TIMESTAMP), column(name, Kind.INTEGER), column(name, Kind.BOOLEAN)]
    assert [property_changes(SurveyedTable(name="hosts", columns=(ID, each)), ("id",)) for each in about] == [[]] * 3
    rule = loaded(written(table("hosts", column(name))).text, tmp_path).mappings["hosts"].properties
    assert rule[name].drop


@pytest.mark.parametrize(
    "name", ["passenger", "secretary", "tokenised", "keyboard", "key", "salty", "compass", "monkey_id"]
)
def test_innocent_names_are_sent(name: str) -> None:
    """A word that only holds another one says nothing."""
    assert property_changes(table("hosts", column(name)), ("id",)) == []


@pytest.mark.parametrize(
    "name",
    ["email", "hostEmail", "e_mail", "phone", "PhoneNumber", "mobile", "fax", "ssn", "birth_date", "FirstName",
     "last_name", "full_name", "street", "BillingAddress", "PostalCode", "ip", "ip_address", "iban", "passport_no"],
)  # fmt: skip
def test_personal_columns_are_pointed_out(name: str, tmp_path: Path) -> None:
    """A comment that becomes a mask when its sign is removed; the property is sent until then."""
    text = written(table("hosts", column(name))).text
    assert loaded(text, tmp_path).mappings["hosts"].properties == {}
    assert loaded(uncommented(text), tmp_path).mappings["hosts"].properties[name].mask == "hash"


def names_sent(*columns: SurveyedColumn, key: tuple[str, ...], folder: Path) -> dict[str, str]:
    """The properties of a table with these columns, each with its column, when the starter config maps it."""
    rooms = SurveyedTable(name="rooms", columns=columns, primary_key=key)
    mapping = loaded(written(rooms).text, folder).mappings["rooms"]
    whole = [Column(name=each.name, kind=each.kind) for each in columns]
    return {each.name: each.column.name for each in properties_of(mapping, whole, mapping.primary_key)}


def test_columns_that_collide_get_other_names(tmp_path: Path) -> None:
    """The one that is spelled as the property keeps it, and no other property is hit by the new name."""
    columns = [column(name) for name in ("a b", "a_b", "A-B", "a_b_2")]
    assert [each.column for each in property_changes(table("rooms", *columns), ("id",))] == ["a b", "A-B"]
    assert names_sent(ID, *columns, key=("id",), folder=tmp_path) == {
        "a_b_3": "a b", "a_b": "a_b", "a_b_4": "A-B", "a_b_2": "a_b_2",
    }  # fmt: skip


def test_names_of_the_warehouse_are_given_away(tmp_path: Path) -> None:
    """It would keep its own value under them; columns without a letter get a name at all."""
    columns = [column(name) for name in ("Id", "uuid", "received at", "!!", "2nd")]
    assert names_sent(column("code"), *columns, key=("code",), folder=tmp_path) == {
        "code": "code", "row_id": "Id", "row_uuid": "uuid", "row_received_at": "received at", "column": "!!",
        "2nd": "2nd",
    }  # fmt: skip


def test_the_id_stays_the_id_beside_its_like(tmp_path: Path) -> None:
    """A rule for the column `id` is not taken for the key `ID`, which is no property."""
    assert names_sent(column("ID"), column("id"), key=("ID",), folder=tmp_path) == {"row_id": "id"}


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mapping", "collection"),
    [
        ("rooms", "rooms", "rooms"),
        ("InvoiceLine", "invoice_line", "invoice_line"),
        ("address2", "address2", "address_two"),
        ("s3_files", "s3_files", "s_three_files"),
        ("2024", "2024", "two_zero_two_four"),
        ("Zimmer-Übersicht", "zimmer_ubersicht", "zimmer_ubersicht"),
        ("rooms٣", "rooms3", "rooms_three"),
        ("部屋", "table", "table"),
        ("$", "table", "table"),
        ("yes", "yes", "yes"),
        ("x" * 200, "x" * 80, "x" * 80),
        ("1" * 60, "1" * 60, "_".join(["one"] * 20)),
    ],
)
def test_names(name: str, mapping: str, collection: str, tmp_path: Path) -> None:
    """Mappings and collections are named after their tables, as far as either may be."""
    assert collection_name(slug(name)) == collection
    config = loaded(written(table(name)).text, tmp_path)
    assert [(each.name, each.collection, each.table) for each in config.mappings.values()] == [
        (mapping, collection, name)
    ]


def test_tables_never_share_a_collection(tmp_path: Path) -> None:
    """The table that is spelled like its collection keeps it, wherever it stands."""
    names = ["Rooms", "room s", "rooms", "rooms_2", "rooms2", "rooms_two"]
    config = loaded(written(*map(table, names)).text, tmp_path)
    assert {str(each.table): (each.name, each.collection) for each in config.mappings.values()} == {
        "rooms": ("rooms", "rooms"),
        "rooms_two": ("rooms_two", "rooms_two"),
        "Rooms": ("rooms_2", "rooms_three"),
        "room s": ("room_s", "room_s"),
        "rooms_2": ("rooms_2_2", "rooms_two_two"),
        "rooms2": ("rooms2", "rooms_two_three"),
    }


# --- any names --------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from([
    "yes", "null", "~", "on", "1", "1e3", "0x1f", "2026-01-31", "", " ", "a b", "a_b", "A B", "a: b", "a #b", "- a",
    "? a", "&a", "*a", "!a", "%a", "@a", "`a`", "'", '"', "\\", "\n", "\t", "\r", "\x00", "\x85", "\u2028", "\ufeff",
    "\udcff", "${X}", "$${X}", "${", "$", "{}", "[]", "a,b", "<<", "id", "ID", "uuid", "received_at", "password",
    "email", "Email", "updated_at", "rooms", "rooms2", "rooms_two", "Rooms", "é", "e\u0301", "部屋", "😀", "a.b", "#",
    "x" * 130, '"' * 600, "\x07" * 300, "x" * 1_100,
])  # fmt: skip
NAMES = HOSTILE | st.text(st.characters(), max_size=6)
COLUMNS = st.builds(SurveyedColumn, name=NAMES, kind=st.sampled_from(Kind), nullable=st.booleans())


@st.composite
def tables(draw: st.DrawFn) -> SurveyedTable:
    """A table or view with names of any kind."""
    columns = draw(st.lists(COLUMNS, max_size=6, unique_by=lambda each: each.name))
    names = [each.name for each in columns] or ["hidden"]
    subset = st.lists(st.sampled_from(names), max_size=2, unique=True).map(tuple)
    indexed = st.none() | st.frozensets(st.sampled_from(names))
    return SurveyedTable(
        name=draw(NAMES), schema=draw(st.none() | NAMES), columns=tuple(columns), primary_key=draw(subset),
        unique=tuple(draw(st.lists(subset, max_size=2))), indexed=draw(indexed),
        rows=draw(st.none() | st.integers(1, 10**12)), view=draw(st.booleans()), readable=draw(st.booleans()),
    )  # fmt: skip


def uncommented(text: str) -> str:
    """The text with tables and proposals no longer commented out, as a person would do it."""
    return re.sub(r"^( {2,6})# (?!---|watermark: )", r"\1", text, flags=re.MULTILINE)


@given(st.lists(tables(), max_size=5, unique_by=lambda each: (each.schema, each.name)), st.booleans(), NAMES)
@settings(deadline=None, max_examples=rounds(100, 3_000))
@example([table("yes", column("a b"), column("a_b"), column("password"), key=("id",))], True, "x")
def test_any_names_make_a_config(
    tmp_path_factory: pytest.TempPathFactory, found: list[SurveyedTable], typed: bool, other: str
) -> None:
    """Whatever tables and columns are called, the config loads, and every mapping's properties are sound."""
    folder = tmp_path_factory.getbasetemp()
    survey = Survey(url=f"sqlite:///{other}.db", tables=(*found, table("cities")), other_schemas=(other,), typed=typed)
    result = starter(survey)
    config = loaded(result.text, folder)
    assert tuple(config.mappings) == result.mapped
    assert len(result.mapped) + result.left_out == len(survey.tables)
    by_path = {each.path: each for each in survey.tables if obstacle(each, key_of(each)) is None}
    for mapping in config.mappings.values():
        mapped = by_path[str(mapping.table)]
        assert mapping.primary_key == key_of(mapped)
        assert collection_problem(mapping.collection) is None
        columns = [Column(name=each.name, kind=each.kind) for each in mapped.columns]
        sent = properties_of(mapping, columns, mapping.primary_key)
        assert sent
        assert not any(each.reserved for each in sent)
        assert not any((each.column.name, each.column.kind) == ("password", Kind.TEXT) for each in sent)


@given(st.lists(tables().filter(lambda each: "\x00" not in each.path), max_size=4, unique_by=lambda each: each.path))
@settings(deadline=None, max_examples=rounds(50, 1_000))
def test_what_is_commented_out_can_be_taken_in(
    tmp_path_factory: pytest.TempPathFactory, found: list[SurveyedTable]
) -> None:
    """Without its comment signs the whole is a config as well, but for names that no file holds."""
    fit = [each for each in found if "Unicode" not in str(obstacle(each, key_of(each)))]
    result = written(*fit, table("cities"))
    assert len(loaded(uncommented(result.text), tmp_path_factory.getbasetemp()).mappings) == len(fit) + 1


@given(NAMES)
@settings(max_examples=rounds(300, 10_000))
def test_quoted_names_are_read_as_they_are(name: str) -> None:
    """By every reader of YAML: as key and as value, and as text whatever it looks like."""
    if len(quoted(name)) <= 1_000 and not any("\ud800" <= char <= "\udfff" for char in name):
        assert yaml.safe_load(f"{quoted(name)}: [{quoted(name)}]  # {name if name.isalnum() else ''}") == {name: [name]}


def test_reserved_names_are_known() -> None:
    """The names that are given away are those that are sent in vain."""
    rooms = SurveyedTable(name="rooms", columns=tuple(map(column, (*sorted(RESERVED_PROPERTIES), "code"))))
    assert {each.column for each in property_changes(rooms, ("code",))} == RESERVED_PROPERTIES
