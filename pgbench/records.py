"""Records: one measured value a line of metrics.jsonl, and a run's records as columns.

Columns are what tables are made of, and what `pgbench.recordcache` keeps between two reports.
"""

import json
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import ValidationError, to_json

from pgbench.jsonlines import read_lines

Count = Annotated[int, Field(ge=0, lt=2**53)]


class Record(BaseModel):
    """One measured value, or why there is none; `value` is finite whenever status is ok."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run_id: str
    artefact: str
    row: str
    dataset: str
    dataset_fingerprint: str
    resolution: Count
    profile: str
    seed: Count
    kimg: float = Field(ge=0)
    metric: str
    key: str
    value: float | None
    stderr: float | None
    num_images: Count
    metric_version: Count
    protocol: dict[str, JsonValue]
    wall_sec: float
    status: Literal["ok", "failed", "skipped"]
    error: str | None

    @model_validator(mode="after")
    def _ok_has_value(self) -> Self:
        if self.status == "ok" and self.value is None:
            raise ValueError(f"{self.metric} {self.key} is ok but has no value; record it failed")
        return self


FIELDS = {name: field.alias or name for name, field in Record.model_fields.items()}


class Columns(NamedTuple):
    """The values of a run's records by field, `protocol` as JSON, and what was set aside."""

    values: dict[str, list[object]]
    problems: list[str]


def read_records(path: Path, run_id: str) -> tuple[list[Record], list[str]]:
    """The sound records of a file in order, and a sentence for every line that was set aside."""
    records, problems = [], []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path} line {number}"
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            problems.append(f"{where} is no record ({reason(error)}) and was set aside.")
            continue
        if record.run_id == run_id:
            records.append(record)
        else:
            problems.append(f"{where} belongs to run {record.run_id!r} and was set aside.")
    return records, problems


def read_columns(path: Path, run_id: str) -> Columns:
    """The records of a file as columns; of duplicates the last one wins."""
    records, problems = read_records(path, run_id)
    last = {(r.kimg, r.metric, r.key, r.metric_version): r for r in records}
    rows = map(attrgetter(*FIELDS), last.values())
    columns = map(list, zip(*rows, strict=True)) if last else ([] for _ in FIELDS)
    values = dict(zip(FIELDS.values(), columns, strict=True))
    return Columns(values | {"protocol": _as_json(values["protocol"])}, problems)


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, in a few words."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]


def _as_json(protocols: Iterable[Any]) -> list[object]:
    """Each as text with sorted keys; equal ones are one object: there are few."""
    known: dict[bytes, str] = {}  # by their JSON as it comes, which is ten times as quick to make
    texts: dict[str, str] = {}

    def text(protocol: dict[str, JsonValue]) -> str:
        told = to_json(protocol)
        if told not in known:
            dumped = json.dumps(protocol, sort_keys=True)
            known[told] = texts.setdefault(dumped, dumped)
        return known[told]

    return [text(protocol) for protocol in protocols]
