"""What `pgbench doctor` says about one thing."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """A thing, its state in words, and what to do about it in one sentence.

    `problem` is for what is needed and broken; names are stable, texts are for people.
    """

    section: str
    name: str
    state: State
    text: str
    cure: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def size_in_words(count: float) -> str:
    """Bytes as MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
