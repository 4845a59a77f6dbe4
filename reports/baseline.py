"""The baseline of a check: every value that is expected, in a file that people read and diff.

Settings stand at the top, then each value: what it is of, the number, what it was measured with. By
hand one may set `exact`, `standard_errors`, the `floor` of all values and that of a single one; all
of these outlast an update.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from pgbench.results import write_text_atomically

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # the floor where none is set
STANDARD_ERRORS = 4.0  # one false alarm in 16,000: a check looks at many values, again and again

_MAX_BYTES = 2**26

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(gt=-1e300, lt=1e300)]  # so that differences are finite, too
Width = Annotated[float, Field(ge=0, lt=1e300)]
Name = tuple[tuple[str, str], ...]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


class Floor(_Strict):
    """The smallest band, the larger of a part of the value and a number; None leaves one open."""

    relative: Annotated[float, Field(ge=0, le=1)] | None = None
    absolute: Width | None = None


class Value(_Strict):
    """One value and what it was measured with; numbers measured otherwise do not compare."""

    of: dict[str, str | int | float]  # which run at which clock, or which file, count and seed
    metric: str
    key: str
    value: Number
    stderr: Width | None
    metric_version: Count
    protocol: dict[str, JsonValue]
    floor: Floor | None = None

    @property
    def name(self) -> Name:
        """What tells this value from all others; names sort as people expect."""
        fields = {**self.of, "metric": self.metric, "key": self.key}
        return tuple((field, _sortable(value)) for field, value in fields.items())

    @property
    def place(self) -> str:
        """The run or file, in words."""
        words = " ".join(value for value in self.of.values() if isinstance(value, str))
        numbers = [f"{k} {v:.10g}" for k, v in self.of.items() if not isinstance(v, str)]
        return ", ".join([words, *numbers])

    @property
    def conditions(self) -> dict[str, JsonValue]:
        """What must be equal for two numbers to compare."""
        protocol = {f"protocol.{key}": value for key, value in self.protocol.items()}
        return {"metric_version": self.metric_version, **protocol}


class Baseline(_Strict):
    """The expected values, and how far from them is too far."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    exact: bool = False
    standard_errors: Annotated[float, Field(ge=0, le=100)] = STANDARD_ERRORS
    floor: Floor = Floor(relative=RELATIVE, absolute=ABSOLUTE)
    values: list[Value]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        counts = Counter(value.name for value in self.values)
        for value in self.values:
            if counts[value.name] > 1:
                what = f"{value.metric} {value.key} ({value.place})"
                raise ValueError(f"it has {what!r} twice")
        return self

    def floor_of(self, value: Value) -> float:
        """The smallest band of one of the values."""
        own = value.floor or Floor()
        relative = _first(own.relative, self.floor.relative, RELATIVE)
        absolute = _first(own.absolute, self.floor.absolute, ABSOLUTE)
        return max(relative * abs(value.value), absolute)

    def updated(self, measured: Iterable[Value]) -> "Baseline":
        """The same settings with other values; floors of single values are kept."""
        floors = {value.name: value.floor for value in self.values}
        fresh = [v.model_copy(update={"floor": floors.get(v.name)}) for v in measured]
        return self.model_copy(update={"values": sorted(fresh, key=lambda value: value.name)})


def read_baseline(path: Path) -> Baseline:
    """The baseline at `path`; ValueError whatever is wrong with the file."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); --update makes it.") from error
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} is refused: a baseline has at most {_MAX_BYTES} bytes.")
    try:
        found = Baseline.model_validate(json.loads(data, object_pairs_hook=_without_repeats))
    except ValidationError as error:
        raise ValueError(f"{path} is no baseline ({_reason(error)}); {_REMEDY}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error}); {_REMEDY}.") from error
    if not found.values:
        raise ValueError(f"{path} has no values, so it guards nothing; {_REMEDY}.")
    return found


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Put the baseline in place of `path`: a line per field, so that a diff shows what changed."""
    plain = baseline.model_dump(by_alias=True, exclude={"values"})
    head = "".join(f"  {_line(name, value)},\n" for name, value in plain.items())
    values = ",\n".join(f"    {{\n{_fields(value)}\n    }}" for value in baseline.values)
    write_text_atomically(path, f'{{\n{head}  "values": [\n{values}\n  ]\n}}\n')


_REMEDY = "correct it, or remove it and make it anew with --update"


def _fields(value: Value) -> str:
    plain = value.model_dump(exclude={"floor"} if value.floor is None else None)
    return ",\n".join(f"      {_line(name, field)}" for name, field in plain.items())


def _line(name: str, value: Any) -> str:
    if name in ("protocol", "floor"):
        value = {key: each for key, each in sorted(value.items()) if each is not None}
    return f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}"


def _sortable(value: str | float) -> str:
    """Numbers with leading zeros: 6 before 12."""
    return value if isinstance(value, str) else f"{value:024.6f}"


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    told = f"{field}: {first['msg']}" if field else first["msg"].removeprefix("Value error, ")
    return "".join(char if char.isprintable() else "?" for char in told)
