"""Image sets: a folder, zip, array file or image store, read as uint8 RGB batches (section 5).

Every kind gives the same pixels in the same order wherever it is read. `folders` reads folders and
zips, `arrays` array files and image stores, `decoding` says how a file becomes RGB. Nothing is
unpickled, nothing is unpacked to disk, and sizes are checked before anything is decoded.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pgbench.metrics.arrays import open_npy, open_npz, open_store, store_header
from pgbench.metrics.folders import open_folder, open_zip
from pgbench.metrics.imageset import ImageSet, Pixels, Progress, array_set
from pgbench.metrics.messages import reason, shown

__all__ = [
    "ImageSet",
    "Images",
    "Pixels",
    "Progress",
    "as_image_set",
    "open_images",
    "rebatch",
]

Images = Pixels | ImageSet | Iterable[ArrayLike]


def open_images(
    path: Path,
    *,
    resolution: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> ImageSet:
    """Open an image set, by default without reading more than its first image.

    Parameters
    ----------
    path : Path
        A folder of images (searched recursively), a .zip of images, a .npy (memory-mapped) or .npz
        of uint8 NHWC or NCHW, or an image store: a folder with `dataset.json` and one uint8 NCHW
        `<resolution>.npy` per resolution.
    resolution : int, optional
        Which level of an image store, by default its highest.
    skip_broken : bool
        Decode every file of a folder or zip now, and leave out those that cannot be read or
        decoded: `skipped` of the set names them. A readable image of another size stays an error.
    progress : callable, optional
        Called with the fraction of the files that were tried, with `skip_broken`.

    Raises
    ------
    ValueError
        Whatever is wrong with the set, naming the file. Without `skip_broken` single images are
        checked when they are read.
    """
    try:
        header = store_header(path)
        if header is not None:
            return open_store(path, header, resolution)
        if resolution is not None:
            raise ValueError(
                f"{shown(path)} is not an image store, so it has no level {resolution}."
            )
        if path.is_dir():
            return open_folder(path, skip_broken=skip_broken, progress=progress)
        if not path.exists():
            raise ValueError(f"There is no image set at {shown(path)}.")
        if path.suffix.lower() == ".zip":
            return open_zip(path, skip_broken=skip_broken, progress=progress)
        openers = {".npy": open_npy, ".npz": open_npz}
        if path.suffix.lower() in openers:
            return openers[path.suffix.lower()](path)
    except OSError as error:
        raise ValueError(f"{shown(path)} cannot be read ({reason(error)}).") from error
    raise ValueError(
        f"{shown(path)} is no image set: give a folder, a .zip, .npy or .npz, or an image store."
    )


def as_image_set(images: Images, num_images: int | None = None) -> ImageSet:
    """The first `num_images` (default: all) of an array, image set or iterable of batches.

    Arrays and batches are uint8 NCHW with three channels, of numpy or torch on any device. An
    iterable is gathered in memory, and no further than needed.
    """
    if not isinstance(images, ImageSet):
        pixels = _checked(images) if _is_array(images) else _gather(images, num_images)
        images = array_set("the given array", pixels)
    return images if num_images is None else images.first(num_images)


def rebatch(images: Images, size: int, num_images: int | None = None) -> Iterator[Pixels]:
    """The first `num_images` (default: all) as uint8 NCHW batches of `size`, the last maybe fewer.

    Unlike with `as_image_set`, an iterable is streamed.
    """
    if isinstance(images, ImageSet) or _is_array(images):
        yield from as_image_set(images, num_images).batches(size)
        return
    held: list[Pixels] = []
    count = 0
    for batch in map(_checked, images):
        wanted = len(batch) if num_images is None else min(len(batch), num_images - count)
        held.append(batch[:wanted])
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


def _is_array(images: object) -> bool:
    return hasattr(images, "__array__")  # numpy's and torch's


def _checked(pixels: object) -> Pixels:
    """`pixels` as an array, if it is uint8 NCHW with three channels."""
    try:
        array = np.asarray(pixels.cpu() if hasattr(pixels, "cpu") else pixels)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"A {type(pixels).__name__} is no batch of images; give arrays."
        ) from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != 3:
        raise ValueError(
            f"Images are uint8 arrays of shape (N, 3, H, W), "
            f"not {array.dtype} of shape {array.shape}."
        )
    return array


def _joined(batches: list[Pixels]) -> Pixels:
    sizes = sorted({batch.shape[1:] for batch in batches})
    if len(sizes) > 1:
        raise ValueError(f"The batches hold images of different shapes: {sizes[0]}, {sizes[1]}.")
    return np.concatenate(batches)


def _gather(batches: Iterable[ArrayLike], num_images: int | None) -> Pixels:
    gathered: list[Pixels] = []
    count = 0
    for batch in map(_checked, batches):
        gathered.append(batch)
        count += len(batch)
        if num_images is not None and count >= num_images:
            break
    if not count:
        raise ValueError("The iterable of batches holds no image.")
    return _joined(gathered)
