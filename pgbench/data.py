"""Multi-resolution image store, read side, and the seeded infinite sampler.

A store is a folder: one uint8 NCHW `<resolution>.npy` per level, memory-mapped, and
`dataset.json`. Level k+1 is the 2x2 mean of the unrounded level k, rounded once. A composed store
(the paper's appendix D) keeps grey glyphs (M, r, r) per level instead and `index.npy` (N, 3), the
numbers of the glyphs that are the R, G and B of each image.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pgbench.config import Count, Frozen, Resolution

Images = NDArray[np.uint8]  # NCHW, RGB, [0, 255]

LABELS: Final = "labels.npy"
INDEX = "index.npy"
CHECKSUMS = (
    "checksums.npy"  # CRC-32 of each image (levels from full down, N), to name a damaged one
)
MAX_LISTED = 1000  # names of skipped entries
_HASHED_BYTES = 2**22  # at once
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
    labels: Literal["labels.npy"] | None = None
    labels_fingerprint: str | None = None
    composed: bool = False
    note: str = ""
    num_skipped: Annotated[int, Field(ge=0)] = 0
    skipped: Annotated[tuple[str, ...], Field(max_length=MAX_LISTED)] = ()  # the first of them
    fingerprint: dict[int, str]

    @model_validator(mode="after")
    def _has_its_resolution(self) -> Self:
        if self.resolution not in self.fingerprint:
            raise ValueError(f"there is no fingerprint of resolution {self.resolution}")
        return self


class Composed:
    """Images of three grey glyphs each, put together when they are read: NCHW uint8."""

    dtype = np.dtype(np.uint8)

    def __init__(self, glyphs: Images, index: NDArray[np.unsignedinteger[Any]]) -> None:
        self._glyphs = glyphs  # (M, r, r)
        self._index = index  # (N, 3), below M
        self.shape = (len(index), 3, *glyphs.shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, which: int | slice | NDArray[Any]) -> Images:
        """The images that numpy would index: an int gives CHW, else NCHW; always a copy."""
        images: Images = self._glyphs[self._index[which]]
        return images


Level = Images | Composed


class ImageStore:
    """A store opened for reading; the pixels stay on disk until they are used."""

    def __init__(
        self,
        path: Path,
        info: StoreInfo,
        levels: Mapping[int, Level],
        labels: NDArray[Any] | None = None,
    ) -> None:
        self.path = path
        self.info = info
        self.labels = labels  # (N, ...), memory-mapped
        self._levels = levels

    @classmethod
    def open(cls, path: Path) -> "ImageStore":
        """The store in folder `path`; ValueError when there is none or its files do not fit."""
        return cls.mapped(path, _read_info(path / "dataset.json"))

    @classmethod
    def mapped(cls, path: Path, info: StoreInfo) -> "ImageStore":
        """The store in folder `path`, which is described by `info`."""
        levels = _map_composed(path, info) if info.composed else _map_levels(path, info)
        return cls(path, info, levels, _map_labels(path, info))

    def level(self, resolution: int) -> Level:
        """All images of one level (N, 3, resolution, resolution), read when they are indexed."""
        if resolution not in self._levels:
            have = ", ".join(str(r) for r in self._levels)
            raise ValueError(
                f"{self.path} has no images of {resolution}x{resolution}, only {have}; "
                "prepare the data set at that resolution"
            )
        return self._levels[resolution]


def fingerprint(
    level: Level, advance: Callable[[int], object] | None = None
) -> tuple[str, NDArray[np.uint32]]:
    """SHA-256 of the shape and of the pixels in C order, and the CRC-32 of each image (N,).

    `advance` is called with the number of bytes that were hashed since the last call.
    """
    digest = hashlib.sha256(repr(level.shape).encode())
    checksums = np.empty(len(level), np.uint32)
    step = max(1, _HASHED_BYTES // prod(level.shape[1:]))
    for start in range(0, len(level), step):
        images = np.ascontiguousarray(level[start : start + step])
        digest.update(images.data)
        checksums[start : start + step] = [zlib.crc32(image) for image in images]
        if advance is not None:
            advance(images.nbytes)
    return digest.hexdigest(), checksums


def labels_fingerprint(labels: NDArray[Any]) -> str:
    """SHA-256 of the type, the shape and the numbers in C order."""
    kind = f"{labels.dtype.str} {labels.shape}"
    return hashlib.sha256(kind.encode() + labels.tobytes()).hexdigest()


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
            f"{path} is damaged ({first_line(error)}); {_AGAIN.format(path.parent)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first complaint of a failed validation, as part of a sentence."""
    if not isinstance(error, ValidationError):
        return str(error)
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"


def _map_levels(path: Path, info: StoreInfo) -> dict[int, Images]:
    return {r: _map_level(path, (info.num_images, 3, r, r), r) for r in info.fingerprint}


def _map_composed(path: Path, info: StoreInfo) -> dict[int, Composed]:
    index = _map(path, INDEX)
    if index.shape != (info.num_images, 3) or index.dtype not in (np.uint16, np.uint32):
        raise ValueError(
            f"{path / INDEX} holds {index.dtype} {index.shape} instead of uint16 or uint32 "
            f"({info.num_images}, 3); {_AGAIN.format(path)}"
        )
    count = len(_map(path, f"{info.resolution}.npy"))
    if index.max() >= count:
        raise ValueError(
            f"{path / INDEX} names glyph {index.max()} of {count}, counted from 0; "
            f"{_AGAIN.format(path)}"
        )
    return {r: Composed(_map_level(path, (count, r, r), r), index) for r in info.fingerprint}


def _map_level(path: Path, expected: tuple[int, ...], resolution: int) -> Images:
    images: Images = _map(path, f"{resolution}.npy")
    if images.shape != expected or images.dtype != np.uint8:
        raise ValueError(
            f"{path / f'{resolution}.npy'} holds {images.dtype} {images.shape} instead of uint8 "
            f"{expected}; {_AGAIN.format(path)}"
        )
    return images


def _map_labels(path: Path, info: StoreInfo) -> NDArray[Any] | None:
    if info.labels is None:
        return None
    labels = _map(path, info.labels)
    if len(labels) != info.num_images:
        raise ValueError(
            f"{path / info.labels} holds {len(labels)} labels for {info.num_images} images; "
            f"{_AGAIN.format(path)}"
        )
    return labels


def _map(path: Path, name: str) -> NDArray[Any]:
    """An array of at least one axis and one number, memory-mapped."""
    try:
        array = np.lib.format.open_memmap(path / name, mode="r")  # never a pickle, never a zip
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"{path / name} is missing or damaged; {_AGAIN.format(path)}") from error
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{path / name} is empty; {_AGAIN.format(path)}")
    return array


def to_json(info: StoreInfo) -> str:
    """The text of `dataset.json`."""
    return json.dumps(info.model_dump(mode="json", by_alias=True), indent=2) + "\n"
