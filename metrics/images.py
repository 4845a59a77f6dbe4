"""Image sets: a folder, zip, array file or image store, read as uint8 RGB batches (section 5).

Every kind gives the same pixels in the same order wherever it is read: files are sorted by their
POSIX relative path, hidden ones (a name starting with a dot) are left out, and so is everything
that is not named .png, .jpg, .jpeg, .webp or .bmp. `decoding` says how a file becomes RGB. Nothing
is unpickled, nothing is unpacked to disk, and sizes are checked before anything is decoded.
"""

import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgbench.metrics.decoding import decode_image

Pixels = NDArray[np.uint8]  # NCHW, [0, 255]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_MAX_FILE_BYTES = 2**28  # one encoded image
_MAX_NPZ_BYTES = 2**32  # an npz has to be decompressed into memory
_DECODERS = 4


@dataclass(frozen=True)
class ImageSet:
    """Images of one size that are read when they are asked for.

    Attributes
    ----------
    name : str
        Where the images come from, for error messages.
    num_images : int
    shape : tuple of int
        (C, H, W) of one image, C = 3.
    read : callable
        Indices of shape (K,) to uint8 pixels of shape (K, C, H, W).
    """

    name: str
    num_images: int
    shape: tuple[int, int, int]
    read: Callable[[NDArray[np.intp]], Pixels] = field(repr=False, compare=False)

    def batches(self, size: int) -> Iterator[Pixels]:
        """All images in order: uint8 NCHW arrays of `size` images, the last one maybe smaller."""
        if size < 1:
            raise ValueError(f"A batch holds at least 1 image, not {size}.")
        for start in range(0, self.num_images, size):
            yield self.read(np.arange(start, min(start + size, self.num_images)))

    def select(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "ImageSet":
        """The set of the images at `indices` (each in [0, num_images)), in that order."""
        chosen = np.asarray(indices, dtype=np.intp)
        if chosen.ndim != 1 or not np.all((chosen >= 0) & (chosen < self.num_images)):
            raise ValueError(
                f"Images of {self.name} are selected by a list of numbers from 0 to "
                f"{self.num_images - 1}."
            )
        return replace(self, num_images=len(chosen), read=lambda where: self.read(chosen[where]))

    def first(self, num_images: int) -> "ImageSet":
        """The set of the first `num_images` images."""
        if not 1 <= num_images <= self.num_images:
            raise ValueError(
                f"{num_images} images were asked for, but {self.name} holds {self.num_images}."
            )
        return replace(self, num_images=num_images)


Images = Pixels | ImageSet | Iterable[Pixels]


def open_images(path: Path, *, resolution: int | None = None) -> ImageSet:
    """Open an image set without reading its images.

    Parameters
    ----------
    path : Path
        A folder of images (searched recursively), a .zip of images, a .npy (memory-mapped) or .npz
        of uint8 NHWC or NCHW, or an image store: a folder with `dataset.json` and one uint8 NCHW
        `<resolution>.npy` per resolution.
    resolution : int, optional
        Which level of an image store, by default its highest.

    Raises
    ------
    ValueError
        Whatever is wrong with the set, naming the file. Single images are checked when read.
    """
    header = _store_header(path)
    if header is not None:
        return _open_store(path, header, resolution)
    if resolution is not None:
        raise ValueError(f"{path} is not an image store, so it has no level {resolution}.")
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ValueError(f"There is no image set at {path}.")
    openers = {".zip": _open_zip, ".npy": _open_npy, ".npz": _open_npz}
    if path.suffix.lower() not in openers:
        raise ValueError(
            f"{path} is no image set: give a folder, a .zip, .npy or .npz, or an image store."
        )
    return openers[path.suffix.lower()](path)


def as_image_set(images: Images, num_images: int | None = None) -> ImageSet:
    """The first `num_images` (default: all) of an array, image set or iterable of batches.

    Arrays and batches are uint8 NCHW with three channels. An iterable is gathered in memory, and no
    further than needed.
    """
    if not isinstance(images, ImageSet):
        pixels = images if isinstance(images, np.ndarray) else _gather(images, num_images)
        images = _array_set("the given array", _checked(pixels))
    return images if num_images is None else images.first(num_images)


def rebatch(images: Images, size: int, num_images: int | None = None) -> Iterator[Pixels]:
    """The first `num_images` (default: all) as uint8 NCHW batches of `size`, the last maybe fewer.

    Unlike with `as_image_set`, an iterable is streamed.
    """
    if isinstance(images, np.ndarray | ImageSet):
        yield from as_image_set(images, num_images).batches(size)
        return
    held: list[Pixels] = []
    count = 0
    for batch in images:
        wanted = len(batch) if num_images is None else min(len(batch), num_images - count)
        held.append(_checked(batch)[:wanted])
        count += wanted
        if sum(map(len, held)) >= size:
            joined = _joined(held)
            full = len(joined) - len(joined) % size
            yield from np.split(joined[:full], full // size)
            held = [joined[full:]]
        if count == num_images:
            break
    if num_images is not None and count < num_images:
        raise ValueError(f"{num_images} images were asked for, but the batches hold {count}.")
    if sum(map(len, held)):
        yield _joined(held)


def _checked(pixels: Pixels) -> Pixels:
    """`pixels` itself, if it is uint8 NCHW with three channels."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(
            f"Images are uint8 arrays of shape (N, 3, H, W), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    return pixels


def _joined(batches: list[Pixels]) -> Pixels:
    sizes = sorted({batch.shape[1:] for batch in batches})
    if len(sizes) > 1:
        raise ValueError(f"The batches hold images of different shapes: {sizes[0]}, {sizes[1]}.")
    return np.concatenate(batches)


def _gather(batches: Iterable[Pixels], num_images: int | None) -> Pixels:
    gathered: list[Pixels] = []
    count = 0
    for batch in batches:
        gathered.append(_checked(batch))
        count += len(batch)
        if num_images is not None and count >= num_images:
            break
    if not count:
        raise ValueError("The iterable of batches holds no image.")
    return _joined(gathered)


def _open_folder(path: Path) -> ImageSet:
    found = {
        file.relative_to(path).as_posix(): file
        for file in path.rglob("*")
        if _is_image_name(file.relative_to(path).as_posix()) and file.is_file()
    }
    names = sorted(found)

    def load(index: int) -> bytes:
        file = found[names[index]]
        return _bounded(str(file), file.stat().st_size, file.read_bytes)

    return _encoded_set(str(path), [str(path / name) for name in names], load)


def _open_zip(path: Path) -> ImageSet:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as a zip ({error}).") from error
    members = {}
    for info in archive.infolist():
        inner = PurePosixPath(info.filename.replace("\\", "/"))
        if (
            inner.is_absolute()
            or ".." in inner.parts
            or inner.as_posix().split("/")[0].endswith(":")
        ):
            raise ValueError(f"{path} is refused: its member {info.filename!r} leaves the archive.")
        if not info.is_dir() and _is_image_name(inner.as_posix()):
            members[inner.as_posix()] = info
    names = sorted(members)

    def load(index: int) -> bytes:
        info = members[names[index]]
        label = f"{path}/{names[index]}"
        try:
            return _bounded(label, info.file_size, partial(archive.read, info))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(f"{label} cannot be read from the zip ({error}).") from error

    return _encoded_set(str(path), [f"{path}/{name}" for name in names], load)


def _is_image_name(name: str) -> bool:
    inner = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in inner.parts)
    return not hidden and inner.suffix.lower() in SUFFIXES


def _bounded(label: str, num_bytes: int, load: Callable[[], bytes]) -> bytes:
    if num_bytes > _MAX_FILE_BYTES:
        raise ValueError(f"{label} is refused: {num_bytes} bytes are too many for one image.")
    return load()


def _encoded_set(name: str, labels: Sequence[str], load: Callable[[int], bytes]) -> ImageSet:
    """A set of encoded images, where load(i) gives the file whose label is labels[i]."""
    if not labels:
        raise ValueError(f"{name} holds no image: files named {', '.join(sorted(SUFFIXES))} count.")

    def read(indices: NDArray[np.intp]) -> Pixels:
        # A file that Pillow would only warn about is refused, hence the filter around all decoders.
        with warnings.catch_warnings(), ThreadPoolExecutor(_DECODERS) as pool:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            decoded = pool.map(lambda i: decode_image(load(i), labels[i]), indices.tolist())
            return np.stack(
                [_same_size(image, i) for image, i in zip(decoded, indices, strict=True)]
            )

    def _same_size(image: Pixels, index: int) -> Pixels:
        if image.shape != shape:
            raise ValueError(
                f"{labels[index]} is {image.shape[2]}x{image.shape[1]}, but the first image of the "
                f"set is {shape[2]}x{shape[1]}; bring all images to one size."
            )
        return image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        channels, height, width = decode_image(load(0), labels[0]).shape
    shape = (channels, height, width)
    return ImageSet(name, len(labels), shape, read)


_BAD_ARRAY = (ValueError, TypeError, OverflowError, EOFError, OSError, MemoryError)


def _open_npy(path: Path) -> ImageSet:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BAD_ARRAY as error:
        raise ValueError(f"{path} cannot be read as a plain .npy array ({error}).") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is no .npy array.")
    return _array_set(str(path), _as_nchw(array, path))


def _open_npz(path: Path) -> ImageSet:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        name = _npz_member(list(sizes), path)
        if sizes[name] > _MAX_NPZ_BYTES:
            raise ValueError("more than 4 GiB; save a .npy instead, which need not fit in memory")
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[name.removesuffix(".npy")]
    except (*_BAD_ARRAY, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as a plain .npz ({error}).") from error
    return _array_set(str(path), _as_nchw(array, path))


def _npz_member(names: list[str], path: Path) -> str:
    if len(names) == 1:
        return names[0]
    known = [name for name in ("images.npy", "arr_0.npy") if name in names]
    if len(known) != 1:
        raise ValueError(f"it holds {sorted(names)}, not one array or one called images or arr_0")
    return known[0]


def _as_nchw(array: NDArray[Any], path: Path) -> Pixels:
    """A uint8 NHWC or NCHW array as NCHW, told apart by the axis of length 3; no copy."""
    if array.dtype != np.uint8 or array.ndim != 4:
        raise ValueError(
            f"{path} is {array.dtype} of shape {array.shape}; save uint8 NHWC or NCHW."
        )
    if 0 in array.shape:
        raise ValueError(f"{path} holds no image: its shape is {array.shape}.")
    nchw, nhwc = array.shape[1] == 3, array.shape[3] == 3
    if nchw == nhwc:
        reason = "both axis 1 and axis 3 have" if nchw else "neither axis 1 nor axis 3 has"
        raise ValueError(f"{path} has shape {array.shape}: {reason} the length 3 of RGB channels.")
    return array if nchw else array.transpose(0, 3, 1, 2)


def _array_set(name: str, pixels: Pixels) -> ImageSet:
    count, channels, height, width = pixels.shape
    return ImageSet(
        name,
        count,
        (channels, height, width),
        lambda indices: np.ascontiguousarray(pixels[indices]),
    )


def _store_header(path: Path) -> dict[str, Any] | None:
    """The content of an image store's dataset.json, None where `path` is no image store."""
    file = path / "dataset.json"
    if not path.is_dir() or not file.is_file():
        return None
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON ({error}).") from error
    # Other tools write a dataset.json next to ordinary images: only ours carries a schema.
    return header if isinstance(header, dict) and "schema" in header else None


def _open_store(path: Path, header: dict[str, Any], resolution: int | None) -> ImageSet:
    if header["schema"] != 1:
        raise ValueError(f"{path}/dataset.json has schema {header['schema']!r}; schema 1 is known.")
    level = header.get("resolution") if resolution is None else resolution
    count = header.get("num_images")
    if type(level) is not int or type(count) is not int:
        raise ValueError(f"{path}/dataset.json lacks a whole number for resolution or num_images.")
    file = path / f"{level}.npy"
    if not file.is_file():
        held = sorted((int(f.stem) for f in path.glob("*.npy") if f.stem.isdecimal()), reverse=True)
        raise ValueError(f"{path} has no level {level}; its levels are {held}.")
    images = _open_npy(file)
    if images.num_images != count or images.shape != (3, level, level):
        raise ValueError(
            f"{file} holds {images.num_images} images of {images.shape}, but dataset.json says "
            f"{count} of (3, {level}, {level})."
        )
    return images
