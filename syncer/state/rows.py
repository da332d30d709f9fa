"""Values of the core as rows of the state tables, and back. Pure; a row that fits no value means damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import RowMapping

from syncer.core.model import (
    Checkpoint,
    Counts,
    DeadLetter,
    Doubt,
    Kind,
    Mode,
    Outcome,
    Position,
    PropertyType,
    Rejection,
    RunReport,
    Watermark,
)
from syncer.state.faults import damaged
from syncer.state.tables import COUNTS
from syncer.state.tenure import Tenure

E = TypeVar("E", bound=Enum)


def checkpoint_row(checkpoint: Checkpoint) -> dict[str, Any]:
    """A row of `syncer_checkpoints`."""
    return {
        "mapping": checkpoint.mapping,
        "digest": checkpoint.digest,
        **_watermark_columns(checkpoint.watermark),
        "updated_at": checkpoint.updated_at,
        **_position_columns(checkpoint.position),
    }


def checkpoint_of(row: RowMapping) -> Checkpoint:
    """The checkpoint in a row. Raises `StateCorrupt`."""
    return Checkpoint(
        mapping=row["mapping"],
        digest=row["digest"],
        watermark=_watermark_of(row),
        updated_at=row["updated_at"],
        position=_position_of(row),
    )


def doubt_row(mapping: str, doubt: Doubt) -> dict[str, Any]:
    """A row of `syncer_doubts`."""
    return {
        "mapping": mapping,
        "run_id": doubt.run_id,
        "number": doubt.part,
        "since": doubt.since,
        "size": len(doubt.keys),
        "row_keys": json.dumps(doubt.keys, separators=(",", ":")).encode(),
    }


def doubt_of(row: RowMapping) -> Doubt:
    """The doubt in a row. Raises `StateCorrupt`."""
    try:
        keys = tuple(map(str, json.loads(row["row_keys"])))
    except (ValueError, TypeError):
        raise damaged() from None
    return Doubt(run_id=row["run_id"], part=row["number"], since=row["since"], keys=keys)


def property_rows(mapping: str, types: Mapping[str, PropertyType]) -> list[dict[str, Any]]:
    """The rows of `syncer_properties` that belong to a mapping."""
    return [
        {"mapping": mapping, "number": number, "property": name, "type": each.type, "since": each.since}
        for number, (name, each) in enumerate(types.items())
    ]


def property_of(row: RowMapping) -> tuple[str, PropertyType]:
    """The name and type of a property in a row."""
    return row["property"], PropertyType(type=row["type"], since=row["since"])


def run_row(run: RunReport) -> dict[str, Any]:
    """A row of `syncer_runs`."""
    return {
        "run_id": run.run_id,
        "mapping": run.mapping,
        "collection": run.collection,
        "mode": run.mode.value,
        "outcome": None if run.outcome is None else run.outcome.value,
        "trigger": run.trigger,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        **asdict(run.counts),
        **_watermark_columns(run.watermark),
        "bound": run.bound,
        "held_by": run.held_by,
        "api": run.api,
        "api_reason": run.api_reason,
        "error": run.error,
        "hint": run.hint,
        "exit_code": run.exit_code,
    }


def run_of(row: RowMapping) -> RunReport:
    """The run report in a row. Raises `StateCorrupt`."""
    return RunReport(
        run_id=row["run_id"],
        mapping=row["mapping"],
        collection=row["collection"],
        mode=_member(Mode, row["mode"]),
        outcome=None if row["outcome"] is None else _member(Outcome, row["outcome"]),
        trigger=row["trigger"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        counts=Counts(**{name: row[name] for name in COUNTS}),
        watermark=_watermark_of(row),
        bound=row["bound"],
        held_by=row["held_by"],
        api=row["api"],
        api_reason=row["api_reason"],
        error=row["error"],
        hint=row["hint"],
        exit_code=row["exit_code"],
    )


def id_digest(id: str) -> bytes:
    """Under what an object's dead letter is found."""
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def dead_letter_row(letter: DeadLetter) -> dict[str, Any]:
    """A row of `syncer_dead_letters`, but for its number."""
    rejection = letter.rejection
    return {
        "mapping": letter.mapping,
        "collection": letter.collection,
        "run_id": letter.run_id,
        "created_at": letter.created_at,
        "code": rejection.code,
        "reason": rejection.reason,
        "object_row": rejection.row,
        "object": None if rejection.id is None else id_digest(rejection.id),
        "object_id": rejection.id,
        "object_key": rejection.key,
        "properties": rejection.properties,
        "status": rejection.status,
        "response": rejection.response,
    }


def dead_letter_of(row: RowMapping) -> DeadLetter:
    """The dead letter in a row."""
    rejection = Rejection(
        code=row["code"],
        reason=row["reason"],
        row=row["object_row"],
        id=row["object_id"],
        key=row["object_key"],
        properties=row["properties"],
        status=row["status"],
        response=row["response"],
    )
    return DeadLetter(
        number=row["number"],
        mapping=row["mapping"],
        collection=row["collection"],
        run_id=row["run_id"],
        created_at=row["created_at"],
        rejection=rejection,
    )


def tenure_of(row: RowMapping) -> Tenure:
    """What a row says of a mapping's lease."""
    return Tenure(epoch=row["epoch"], owner=row["owner"], since=row["since"], expires_at=row["expires_at"])


def _watermark_columns(watermark: Watermark | None) -> dict[str, Any]:
    if watermark is None:
        return {"watermark_kind": None, "watermark_text": None}
    return {"watermark_kind": watermark.kind.value, "watermark_text": watermark.text}


def _position_columns(position: Position | None) -> dict[str, Any]:
    mark = position.watermark if position is not None else None
    return {
        "position_kind": None if mark is None else mark.kind.value,
        "position_text": None if mark is None else mark.text,
        "position_key": None if position is None else position.key,
    }


def _position_of(row: RowMapping) -> Position | None:
    key = row["position_key"]
    return None if key is None else Position(watermark=_watermark_of(row, "position"), key=key)


def _watermark_of(row: RowMapping, name: str = "watermark") -> Watermark | None:
    kind, text = row[f"{name}_kind"], row[f"{name}_text"]
    if kind is None and text is None:
        return None
    if kind is None or text is None:
        raise damaged()
    return Watermark(kind=_member(Kind, kind), text=text)


def _member(enum: type[E], value: object) -> E:
    try:
        return enum(value)
    except ValueError:
        raise damaged() from None
