"""Training states, to go on from, and snapshots of G_ema, to evaluate.

A state is a torch file followed by the SHA-256 of its bytes; the one before is kept. Nothing
is ever unpickled: states load with `weights_only`, snapshots are safetensors.
"""

import errno
import hashlib
import io
import json
import logging
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pgbench.atomic import sync_folder, write_atomically
from pgbench.config import Frozen, GeneratorConfig
from pgbench.mode_networks import make_generator
from pgbench.networks import Generator
from pgbench.schedule import START_RESOLUTION

log = logging.getLogger(__name__)
_DIGEST_BYTES = 32


class SnapshotInfo(Frozen):
    """What a snapshot says of itself."""

    generator: GeneratorConfig
    nimg: int
    lod: float = Field(ge=0)
    source: str | None = None  # SHA-256 of the released file it was imported from

    @model_validator(mode="after")
    def _lod_is_of_the_generator(self) -> Self:
        if self.generator.resolution / 2**self.lod < START_RESOLUTION:
            raise ValueError(f"lod {self.lod} is beyond {START_RESOLUTION}x{START_RESOLUTION}")
        return self


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Put `state` in place of `path` and keep the one before as `previous_state(path)`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    fresh = path.with_name(f"{path.name}.new")
    write_atomically(fresh, lambda file: file.write(payload + hashlib.sha256(payload).digest()))
    if path.exists():
        path.replace(previous_state(path))
    fresh.replace(path)
    sync_folder(path.parent)


def load_state(path: Path) -> dict[str, Any] | None:
    """The newest sound state, None when there has been none; ValueError when all are damaged."""
    existing = [p for p in (path, previous_state(path)) if p.exists()]
    for candidate in existing:
        state = _read_state(candidate)
        if state is not None:
            if candidate != path:
                log.warning("%s is damaged or missing; going on from %s", path, candidate.name)
                path.unlink(missing_ok=True)  # or the next one saved would put it in its place
            return state
    if existing:
        raise ValueError(
            f"every training state in {path.parent} is damaged; remove that folder to start anew"
        )
    return None


def previous_state(path: Path) -> Path:
    """Where the state before the one at `path` is kept."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def _read_state(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None  # a damaged disk
    payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError):
        return None  # sealed, but by another program: whatever it would run was refused
    return state if isinstance(state, dict) else None


def save_snapshot(
    path: Path, generator: Generator, *, nimg: int, lod: float, source: str | None = None
) -> None:
    """Write the weights of `generator` as safetensors, with its configuration inside."""
    info = SnapshotInfo(generator=generator.config, nimg=nimg, lod=lod, source=source)
    weights = {name: value.contiguous() for name, value in generator.state_dict().items()}
    content = save(weights, metadata={"pgbench": info.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


Network = TypeVar("Network", bound=nn.Module)


def filled(make: Callable[[], Network], weights: dict[str, Tensor]) -> Network:
    """The network with these weights; RuntimeError, and no memory taken, when they do not fit."""
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in make().state_dict().items()}
    if wanted != {name: value.shape for name, value in weights.items()}:
        raise RuntimeError("the weights are of another network")
    network = make()
    network.load_state_dict(weights)
    return network


def load_snapshot(path: Path, device: torch.device) -> tuple[Generator, SnapshotInfo]:
    """The generator of a snapshot, ready to sample; ValueError when the file is none."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            info = SnapshotInfo.model_validate_json((file.metadata() or {}).get("pgbench", ""))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        generator = filled(partial(make_generator, info.generator), weights)
    except (SafetensorError, ValidationError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no snapshot of pgbench; give a G_ema-….safetensors") from error
    return generator.to(device).eval().requires_grad_(False), info
