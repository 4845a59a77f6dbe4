"""Named data sets: what they are, where they come from, and the built-in ones.

Built-in sets are drawn on this machine once and kept under the user's cache folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from platformdirs import user_cache_path

from pgbench import portraits, scenes
from pgbench.data import Images, ImageStore
from pgbench.prepare import StoreDraft, build_store


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
