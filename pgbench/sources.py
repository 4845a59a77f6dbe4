"""Named data sets: what they are, where they come from, and the built-in ones.

Built-in sets are drawn on this machine once and kept under the user's cache folder.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from platformdirs import user_cache_path

from pgbench import portraits, scenes
from pgbench.data import Images, ImageStore
from pgbench.prepare import StoreDraft, build_store

_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA")  # others would be converted wrongly, silently


class _Unfit(ValueError):
    """A sound picture that does not fit into the store."""


@dataclass(frozen=True)
class BuiltIn:
    """A data set that is drawn rather than downloaded."""

    name: str
    description: str
    mirror: bool
    version: int
    render: Callable[..., Images]  # (seed, index, *, resolution) -> CHW uint8
    num_images: int = 30_000


BUILT_IN = {
    source.name: source
    for source in (
        BuiltIn(
            name="portraits",
            description="procedural faces, aligned; stands where CelebA stands",
            mirror=True,
            version=portraits.VERSION,
            render=portraits.render,
        ),
        BuiltIn(
            name="scenes",
            description="crops of scikit-image's photographs; stands where LSUN bedroom stands",
            mirror=False,
            version=scenes.VERSION,
            render=scenes.render,
        ),
    )
}


def dataset_name(data: str) -> tuple[str, bool]:
    """(name, mirror) of what `--data` names, without drawing or reading its images."""
    if data in BUILT_IN:
        return data, BUILT_IN[data].mirror
    info = ImageStore.open(_folder(data)).info
    return info.name, info.mirror


def lasting_name(data: str) -> str:
    """What `--data` named, as it is found from any folder."""
    return data if data in BUILT_IN else str(Path(data).resolve())


def open_dataset(data: str, *, resolution: int, num_images: int | None) -> ImageStore:
    """The store of a built-in set (`num_images` of it, drawn now if need be) or of a folder."""
    if data in BUILT_IN:
        return built_in_store(BUILT_IN[data], resolution=resolution, num_images=num_images)
    return ImageStore.open(_folder(data))


def _folder(data: str) -> Path:
    if not Path(data).is_dir():
        raise ValueError(
            f"there is no data set {data!r}; the built-in ones are {', '.join(BUILT_IN)}, "
            "any other is the folder of an image store"
        )
    return Path(data)


def built_in_store(
    source: BuiltIn, *, resolution: int, num_images: int | None = None, out: Path | None = None
) -> ImageStore:
    """A built-in set in `out`, by default in the user's cache folder."""
    count = source.num_images if num_images is None else num_images
    draft = StoreDraft(
        name=source.name,
        source=f"pgbench {source.name} version {source.version}, seed 0",
        crop="none",
        resolution=resolution,
        num_images=count,
        mirror=source.mirror,
    )
    place = cache_folder() / f"{source.name}-v{source.version}-{resolution}-{count}"
    return build_store(out or place, draft, read=partial(source.render, 0, resolution=resolution))


def cache_folder() -> Path:
    """Where built-in data sets are kept on this machine."""
    return user_cache_path("pgbench") / "data"


def folder_store(pictures: Path, out: Path, *, num_images: int | None = None) -> ImageStore:
    """A store of the pictures in a folder, all square and of one power-of-two size."""
    files = _picture_files(pictures)[:num_images]
    resolution = _read_picture(files, None, 0).shape[1]
    draft = StoreDraft(
        name=_store_name(out),
        source=f"folder {pictures.name}",
        crop="none",
        resolution=resolution,
        num_images=len(files),
        mirror=False,
    )
    return build_store(out, draft, read=partial(_read_picture, files, resolution))


def _store_name(out: Path) -> str:
    kept = (c if c.isascii() and c.isalnum() else "-" for c in out.resolve().name.lower())
    return "".join(kept).strip("-")[:64] or "folder"


def _picture_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give --from the folder of the pictures")
    inside = (path for path in folder.rglob("*") if _is_picture(path.relative_to(folder)))
    found = sorted(path for path in inside if path.is_file())
    if not found:
        kinds = " ".join(sorted(_PICTURE_SUFFIXES))
        raise ValueError(f"{folder} holds no pictures ({kinds}); give --from a folder that does")
    return found


def _is_picture(inside: Path) -> bool:
    hidden = any(part.startswith(".") for part in inside.parts)  # such as macOS leaves on disks
    return not hidden and inside.suffix.lower() in _PICTURE_SUFFIXES


def _read_picture(files: list[Path], resolution: int | None, index: int) -> Images:
    """One picture as CHW uint8 RGB; `resolution` None takes what is there."""
    path = files[index]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=_FORMATS)  # an EPS would start a program
        with picture:
            _check_kind(path, picture, resolution)
            pixels = np.asarray(_opaque(picture), dtype=np.uint8)
    except _Unfit:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise ValueError(f"{path} is no readable picture ({error}); remove it") from error
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _opaque(picture: Image.Image) -> Image.Image:
    """RGB, what is transparent composited over white: the same pixels that the metrics see."""
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


def _check_kind(path: Path, picture: Image.Image, resolution: int | None) -> None:
    """_Unfit when 8-bit RGB cannot hold the picture, or when it is of a wrong size."""
    if picture.mode not in _MODES:
        raise _Unfit(f"{path} has the colour mode {picture.mode}; convert it to 8-bit RGB")
    width, height = picture.size
    side = width if resolution is None else resolution
    if width != height or side < 4 or side > 1024 or side & (side - 1):
        raise _Unfit(
            f"{path} is {width}x{height} pixels; pictures must be square with a side that is a "
            "power of two from 4 to 1024"
        )
    if width != side:
        raise _Unfit(
            f"{path} is {width}x{height} pixels and the first picture {side}x{side}; "
            "give pictures of one size"
        )
