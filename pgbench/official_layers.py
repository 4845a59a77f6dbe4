"""The released networks as ours: arguments, names and layouts (paper, table 2 and appendix A.1).

Stored weights are HWIO for convolutions, HWOI for those that enlarge, IO for dense layers, all
before the run-time factor, which is the same as ours: He's constant over the inputs of a layer.

A fused layer that enlarges adds the four copies of its 3x3 kernel that are shifted by a pixel and
convolves, transposed, with stride 2: nearest-neighbour x2 and then the kernel turned by 180
degrees. A fused layer that reduces takes their mean and convolves with stride 2: the convolution
and then the 2x2 mean, before bias and activation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pgbench.config import DiscriminatorConfig, Frozen, GeneratorConfig
from pgbench.networks import num_maps
from pgbench.official_pickle import Array, Scalar, StoredNetwork

Config = TypeVar("Config", bound=Frozen)

_FIXED: dict[str, Scalar] = {
    "num_channels": 3,
    "label_size": 0,
    "fmap_decay": 1.0,
    "pixelnorm_epsilon": 1e-8,
    "dtype": "float32",
}
_SHARED = {"resolution": "resolution", "fmap_base": "fmap_base", "fmap_max": "fmap_max"}
_SHARED["use_wscale"] = "equalized_lr"
_G_FIELDS = _SHARED | {
    "latent_size": "latent_size",
    "normalize_latents": "normalize_latents",
    "use_pixelnorm": "pixelnorm",
}
_NO_MATTER = {"fused_scale", "structure"}  # the names tell, and how a graph is built


def generator_config(network: StoredNetwork) -> GeneratorConfig:
    """The configuration of a stored G; ValueError when ours has no such thing."""
    arguments = _arguments(network, {*_G_FIELDS, "use_leakyrelu", "tanh_at_end"})
    fields = {_G_FIELDS[name]: arguments[name] for name in _G_FIELDS if name in arguments}
    dense = network.variables.get("4x4/Dense/weight")
    if dense is not None and dense.ndim == 2:
        fields.setdefault("latent_size", len(dense))
    fields["activation"] = "lrelu" if arguments.get("use_leakyrelu", True) else "relu"
    fields["output"] = "tanh" if arguments.get("tanh_at_end", False) else "linear"
    return _validated(GeneratorConfig, fields, network)


def discriminator_config(network: StoredNetwork) -> DiscriminatorConfig:
    """The configuration of a stored D; ValueError when ours has no such thing."""
    arguments = _arguments(network, {*_SHARED, "mbstd_group_size"})
    fields = {_SHARED[name]: arguments[name] for name in _SHARED if name in arguments}
    group = arguments.get("mbstd_group_size", 4)
    none = isinstance(group, int) and group <= 1
    fields |= {"minibatch_layer": "none"} if none else {"stddev_group": group}
    config = _validated(DiscriminatorConfig, fields, network)
    sides = [2**level for level in _levels(config.resolution)[1:]]
    fused = [side for side in sides if f"{side}x{side}/Conv1_down/weight" in network.variables]
    if fused != sides[len(sides) - len(fused) :]:
        raise ValueError(
            f"network {network.name} fuses the layers of {fused} of {sides}; "
            "only those from one resolution up can be converted"
        )
    fields["fused_from"] = fused[0] if fused else None
    return _validated(DiscriminatorConfig, fields, network)


def lod_of(network: StoredNetwork, resolution: int) -> float:
    """The level of detail at which a network was saved, from 0 to that of 4x4."""
    lod, lowest = network.variables.get("lod"), _levels(resolution)[-1] - 2
    if lod is None or lod.shape != () or not 0 <= lod <= lowest:
        shown = "none" if lod is None or lod.shape != () else lod.item()
        raise ValueError(f"network {network.name} has lod {shown}; it must be 0 to {lowest}")
    return float(lod)


def generator_weights(network: StoredNetwork, config: GeneratorConfig) -> dict[str, Tensor]:
    """The variables of a stored G under our names and in our layout."""
    return _converted(network, list(_generator_layers(config, network)))


def discriminator_weights(network: StoredNetwork, config: DiscriminatorConfig) -> dict[str, Tensor]:
    """The variables of a stored D under our names and in our layout."""
    return _converted(network, list(_discriminator_layers(config)))


def _arguments(network: StoredNetwork, known: set[str]) -> dict[str, Any]:
    """Those that configure the network; None stands for a default."""
    given = {name: value for name, value in network.static_kwargs.items() if value is not None}
    for name, value in given.items():
        if name not in known | _NO_MATTER and _FIXED.get(name) != value:
            expected = f"only {_FIXED[name]} is known" if name in _FIXED else "it is not known"
            raise ValueError(f"network {network.name} was built with {name}={value!r}; {expected}")
    if "resolution" not in given:
        raise ValueError(f"network {network.name} does not say its resolution")
    return given


def _validated(kind: type[Config], fields: dict[str, Any], network: StoredNetwork) -> Config:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"network {network.name} was built with {name}={first['input']!r}: {first['msg']}"
        ) from error


def _levels(resolution: int) -> range:
    """log2 of the resolutions from 4 to `resolution`."""
    return range(2, resolution.bit_length())


@dataclass(frozen=True)
class _Layer:
    """A layer by its name there and here, the shape of its stored weight, and the way to ours."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    maps: int
    convert: Callable[[Array], Array]


def _conv(theirs: str, ours: str, maps_in: int, maps_out: int, kernel: int = 3) -> _Layer:
    shape = (kernel, kernel, maps_in, maps_out)
    return _Layer(theirs, ours, shape, maps_out, lambda weight: weight.transpose(3, 2, 0, 1))


def _enlarging(theirs: str, ours: str, maps_in: int, maps_out: int) -> _Layer:
    """Fused: HWOI and turned by 180 degrees."""
    return _Layer(
        theirs,
        ours,
        (3, 3, maps_out, maps_in),
        maps_out,
        lambda weight: weight[::-1, ::-1].transpose(2, 3, 0, 1),
    )


def _latent(theirs: str, ours: str, latent_size: int, maps: int) -> _Layer:
    """Dense, whose outputs are the pixels of one map after the other."""
    shape = (latent_size, maps * 16)
    return _Layer(theirs, ours, shape, maps, lambda weight: weight.reshape(-1, maps, 4, 4))


def _flat(theirs: str, ours: str, maps_in: int, features: int) -> _Layer:
    """Dense over the pixels of one map after the other: our 4x4 convolution without padding."""
    return _Layer(
        theirs,
        ours,
        (maps_in * 16, features),
        features,
        lambda weight: weight.T.reshape(features, maps_in, 4, 4),
    )


def _score(theirs: str, ours: str, features: int) -> _Layer:
    return _Layer(theirs, ours, (features, 1), 1, lambda weight: weight.T)


def _generator_layers(config: GeneratorConfig, network: StoredNetwork) -> Iterator[_Layer]:
    """Layers that enlarge are fused where their name says so."""
    maps = {level: num_maps(config, level - 1) for level in _levels(config.resolution)}
    top = max(maps)
    yield _latent("4x4/Dense", "blocks.0.0.conv", config.latent_size, maps[2])
    yield _conv("4x4/Conv", "blocks.0.1.conv", maps[2], maps[2])
    for level in range(3, top + 1):
        name, ours = f"{2**level}x{2**level}", f"blocks.{level - 2}"
        if f"{name}/Conv0_up/weight" in network.variables:
            yield _enlarging(f"{name}/Conv0_up", f"{ours}.1.conv", maps[level - 1], maps[level])
        else:
            yield _conv(f"{name}/Conv0", f"{ours}.1.conv", maps[level - 1], maps[level])
        yield _conv(f"{name}/Conv1", f"{ours}.2.conv", maps[level], maps[level])
    for level in maps:
        yield _conv(f"ToRGB_lod{top - level}", f"to_rgb.{level - 2}", maps[level], 3, kernel=1)


def _discriminator_layers(config: DiscriminatorConfig) -> Iterator[_Layer]:
    maps = {level: num_maps(config, level - 1) for level in _levels(config.resolution)}
    top, features = max(maps), num_maps(config, 0)
    for level in maps:
        yield _conv(f"FromRGB_lod{top - level}", f"from_rgb.{level - 2}", 3, maps[level], kernel=1)
    for level in range(3, top + 1):
        name, ours = f"{2**level}x{2**level}", f"blocks.{level - 3}"
        fused = config.fused_from is not None and 2**level >= config.fused_from
        second = f"{name}/Conv1_down" if fused else f"{name}/Conv1"
        yield _conv(f"{name}/Conv0", f"{ours}.0.conv", maps[level], maps[level])
        yield _conv(second, f"{ours}.1.conv", maps[level], maps[level - 1])
    extra = 1 if config.minibatch_layer == "stddev" else 0
    yield _conv("4x4/Conv", "conv.conv", maps[2] + extra, maps[2])
    yield _flat("4x4/Dense0", "dense.conv", maps[2], features)
    yield _score("4x4/Dense1", "score", features)


def _converted(network: StoredNetwork, layers: list[_Layer]) -> dict[str, Tensor]:
    """All variables but lod, each used once."""
    left = {name: array for name, array in network.variables.items() if name != "lod"}
    weights: dict[str, Tensor] = {}
    for layer in layers:
        weight = _taken(left, f"{layer.theirs}/weight", layer.shape, network)
        bias = _taken(left, f"{layer.theirs}/bias", (layer.maps,), network)
        weights[f"{layer.ours}.weight"] = _tensor(layer.convert(weight))
        weights[f"{layer.ours}.bias"] = _tensor(bias)
    if left:
        raise ValueError(f"network {network.name} has a variable {min(left)} that ours lacks")
    return weights


def _taken(
    left: dict[str, Array], name: str, shape: tuple[int, ...], network: StoredNetwork
) -> Array:
    """The variable in float32 and memory of its own; ValueError when it is not of that shape."""
    array = left.pop(name, None)
    if array is None:
        raise ValueError(f"network {network.name} has no variable {name}")
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(
            f"network {network.name} has {name} of {array.dtype} {array.shape} instead of "
            f"floating point {shape}"
        )
    with np.errstate(over="ignore"):
        values: Array = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"network {network.name} has {name} with values that are not finite")
    return values


def _tensor(array: Array) -> Tensor:
    """In our order of the axes in memory, too."""
    return torch.from_numpy(np.ascontiguousarray(array))
