"""Multi-resolution image store, read side, and the seeded infinite sampler.

A store is a folder: one uint8 NCHW `<resolution>.npy` per level, memory-mapped, and
`dataset.json`. Level k+1 is the 2x2 mean of the unrounded level k, rounded once.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pgbench.config import Count, Frozen, Resolution

Images = NDArray[np.uint8]  # NCHW, RGB, [0, 255]

_SAMPLER = 1  # purpose of the random stream
_AGAIN = "remove {} and prepare it again"


class StoreInfo(Frozen):
    """What `dataset.json` says; `fingerprint` is the SHA-256 of the pixels of each level."""

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    schema_version: Literal[1] = Field(1, alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    source: str
    crop: str
    resolution: Resolution
    num_images: Count
    mirror: bool
    labels: str | None = None
    fingerprint: dict[int, str]

    @model_validator(mode="after")
    def _has_its_resolution(self) -> Self:
        if self.resolution not in self.fingerprint:
            raise ValueError(f"there is no fingerprint of resolution {self.resolution}")
        return self


class ImageStore:
    """A store opened for reading; the pixels stay on disk until they are used."""

    def __init__(self, path: Path, info: StoreInfo, levels: dict[int, Images]) -> None:
        self.path = path
        self.info = info
        self._levels = levels

    @classmethod
    def open(cls, path: Path) -> "ImageStore":
        """The store in folder `path`; ValueError when there is none or its files do not fit."""
        info = _read_info(path / "dataset.json")
        levels = {resolution: _map_level(path, info, resolution) for resolution in info.fingerprint}
        return cls(path, info, levels)

    def level(self, resolution: int) -> Images:
        """All images of one level, memory-mapped (N, 3, resolution, resolution)."""
        if resolution not in self._levels:
            have = ", ".join(str(r) for r in self._levels)
            raise ValueError(
                f"{self.path} has no images of {resolution}x{resolution}, only {have}; "
                "prepare the data set at that resolution"
            )
        return self._levels[resolution]


class Sampler:
    """Images in an endless random order: epochs are permutations drawn from (seed, epoch).

    Position p of the order is a pure function of p, so `nimg` alone resumes it.
    """

    def __init__(
        self, store: ImageStore, *, num_images: int | None, mirror: bool, seed: int
    ) -> None:
        self.store = store
        self.num_images = store.info.num_images if num_images is None else num_images
        if self.num_images > store.info.num_images:
            raise ValueError(
                f"{store.path} holds {store.info.num_images} images and the run asks for "
                f"{num_images}; prepare more or ask for fewer"
            )
        self.mirror = mirror
        self.seed = seed
        self._epochs: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    def batch(self, position: int, count: int, *, resolution: int) -> Images:
        """Images `position` to `position + count` of the order, NCHW uint8."""
        positions = np.arange(position, position + count)
        epochs, places = np.divmod(positions, self.num_images)
        drawn = [self._epoch(int(epoch)) for epoch in epochs]
        indices = np.array([order[i] for (order, _), i in zip(drawn, places, strict=True)])
        flips = np.array([flip[i] for (_, flip), i in zip(drawn, places, strict=True)])
        return _flip(self.store.level(resolution)[indices], flips)

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if epoch not in self._epochs:
            rng = np.random.default_rng([self.seed, _SAMPLER, epoch])
            order = rng.permutation(self.num_images)
            flips = rng.random(self.num_images) < (0.5 if self.mirror else 0.0)
            recent = {k: v for k, v in self._epochs.items() if k == epoch - 1}
            self._epochs = recent | {epoch: (order, flips)}
        return self._epochs[epoch]


def _flip(images: Images, flips: NDArray[np.bool_]) -> Images:
    images[flips] = images[flips, :, :, ::-1]
    return images


def _read_info(path: Path) -> StoreInfo:
    if not path.is_file():
        raise ValueError(
            f"{path.parent} is no image store (it has no dataset.json); make one from pictures "
            f"with: pgbench data prepare folder --from {path.parent} --out NEW_FOLDER"
        )
    try:
        return StoreInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({_first_line(error)}); {_AGAIN.format(path.parent)}"
        ) from error


def _first_line(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"


def _map_level(path: Path, info: StoreInfo, resolution: int) -> Images:
    file = path / f"{resolution}.npy"
    try:
        images = np.lib.format.open_memmap(file, mode="r")  # never a pickle, never a zip
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"{file} is missing or damaged; {_AGAIN.format(path)}") from error
    expected = (info.num_images, 3, resolution, resolution)
    if images.shape != expected or images.dtype != np.uint8:
        raise ValueError(
            f"{file} holds {images.dtype} {images.shape} instead of uint8 {expected}; "
            f"{_AGAIN.format(path)}"
        )
    return images


def to_json(info: StoreInfo) -> str:
    """The text of `dataset.json`."""
    return json.dumps(info.model_dump(mode="json", by_alias=True), indent=2) + "\n"
