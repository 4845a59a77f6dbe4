"""The released networks as ours, to sample, to measure and to train further (appendix A.1)."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pgbench.atomic import write_atomically
from pgbench.checkpoint import filled, load_snapshot, save_snapshot
from pgbench.config import DiscriminatorConfig, Frozen, GeneratorConfig
from pgbench.networks import Discriminator, Generator
from pgbench.official_layers import (
    discriminator_config,
    discriminator_weights,
    generator_config,
    generator_weights,
    lod_of,
)
from pgbench.official_pickle import StoredNetwork, read_release

if TYPE_CHECKING:
    from pgbench.training import Trainer

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class OfficialNetworks:
    """The networks of a released file, ready to use; `source` is the SHA-256 of its bytes."""

    G: Generator
    D: Discriminator
    G_ema: Generator
    lod: float
    source: str


class DiscriminatorInfo(Frozen):
    """What the file of a discriminator says of itself."""

    discriminator: DiscriminatorConfig
    source: str


def load_official(path: Path | str) -> tuple[Generator, Discriminator, Generator]:
    """(G, D, G_ema) of a released network pickle, which is read and never loaded.

    ValueError in one sentence when it is none or its networks are other than ours.
    """
    networks = read_official(Path(path))
    return networks.G, networks.D, networks.G_ema


def read_official(path: Path) -> OfficialNetworks:
    """The networks of a released pickle with their level of detail and the file's SHA-256."""
    release = read_release(path)
    try:
        g, d, g_ema = _generator(release.G), _discriminator(release.D), _generator(release.Gs)
        resolutions = [each.config.resolution for each in (g, d, g_ema)]
        if g.config != g_ema.config or len(set(resolutions)) > 1:
            raise ValueError(f"its G, D and Gs, of resolutions {resolutions}, do not fit together")
        lods = [lod_of(each, g.config.resolution) for each in (release.G, release.D, release.Gs)]
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be converted: {error}; give a released network of RGB images without "
            "labels"
        ) from error
    return OfficialNetworks(g, d, g_ema.requires_grad_(False), lods[-1], release.sha256)


def save_official(networks: OfficialNetworks, path: Path) -> list[Path]:
    """Write G_ema as the snapshot `path` and G and D beside it; returns the three paths."""
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} does not end in .safetensors; call the snapshot so")
    path.parent.mkdir(parents=True, exist_ok=True)
    for place, generator in ((beside(path, "G"), networks.G), (path, networks.G_ema)):
        save_snapshot(place, generator, nimg=0, lod=networks.lod, source=networks.source)
    info = DiscriminatorInfo(discriminator=networks.D.config, source=networks.source)
    weights = {name: value.contiguous() for name, value in networks.D.state_dict().items()}
    content = save(weights, metadata={"pgbench": info.model_dump_json()})
    write_atomically(beside(path, "D"), lambda file: file.write(content))
    return [path, beside(path, "G"), beside(path, "D")]


def beside(path: Path, network: str) -> Path:
    """Where G or D lies beside the snapshot of its G_ema."""
    return path.with_name(f"{path.stem}-{network}{path.suffix}")


def continue_from(trainer: "Trainer", path: Path) -> None:
    """Put the imported networks at snapshot `path`, and beside it, into `trainer`.

    Its optimisers and its clock stay as they are. ValueError when its schedule grows, as an import
    is trained further at full resolution, or when its configuration has other networks.
    """
    G_ema, info = load_snapshot(path, _CPU)
    if trainer.config.schedule.growing:
        raise ValueError("the run's schedule would grow from 4x4 again; give it growing False")
    G, g_info = load_snapshot(beside(path, "G"), _CPU)
    D, d_info = _load_discriminator(beside(path, "D"))
    if info.source is None or not info.source == g_info.source == d_info.source:
        raise ValueError(f"{path} and the networks beside it are not of one import; import again")
    _check_same(trainer.config.generator, G_ema.config, "generator")
    _check_same(trainer.config.discriminator, D.config, "discriminator")
    trainer.G.load_state_dict(G.state_dict())
    trainer.D.load_state_dict(D.state_dict())
    trainer.G_ema.load_state_dict(G_ema.state_dict())


def _check_same(
    ours: GeneratorConfig | DiscriminatorConfig,
    imported: GeneratorConfig | DiscriminatorConfig,
    part: str,
) -> None:
    for name, value in imported:
        if getattr(ours, name) != value:
            raise ValueError(
                f"the run's {part} has {name} {getattr(ours, name)} and the imported network "
                f"{value}; give the run the configuration of the import"
            )


def _load_discriminator(path: Path) -> tuple[Discriminator, DiscriminatorInfo]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            said = (file.metadata() or {}).get("pgbench", "")
            info = DiscriminatorInfo.model_validate_json(said)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        discriminator = filled(partial(Discriminator, info.discriminator), weights)
    except (SafetensorError, ValidationError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no imported discriminator; import the pickle again") from error
    return discriminator, info


def _generator(network: StoredNetwork) -> Generator:
    config = generator_config(network)
    weights = generator_weights(network, config)  # before a network of that size is made
    generator = Generator(config)
    generator.load_state_dict(weights)
    return generator


def _discriminator(network: StoredNetwork) -> Discriminator:
    config = discriminator_config(network)
    weights = discriminator_weights(network, config)
    discriminator = Discriminator(config)
    discriminator.load_state_dict(weights)
    return discriminator
