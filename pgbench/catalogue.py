"""The real data sets of the paper: what they are, where to get them, and how each is read.

`prepare_real` turns what people have on disk into a store; stores that were made are remembered, so
that `pgbench data list` can say where they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgbench.atomic import write_text_atomically
from pgbench.crops import Crop, Resize
from pgbench.data import ImageStore
from pgbench.downloads import download_cifar10, download_mnist
from pgbench.pictures_celeba import open_celeba, open_celeba_hq
from pgbench.pictures_cifar10 import open_cifar10
from pgbench.pictures_folder import open_folder, store_name
from pgbench.pictures_hdf5 import open_hdf5
from pgbench.pictures_lsun import CATEGORIES, is_mirrored, open_lsun
from pgbench.pictures_mnist import mnist_rgb_store
from pgbench.pictures_tfrecords import open_tfrecords
from pgbench.prepare import Pictures, build_pictures
from pgbench.sources import cache_folder

_LSUN = "lsun-"
_MOST_KNOWN = 1000  # stores that are remembered


@dataclass(frozen=True)
class RealSet:
    """A data set that its makers publish; it is not part of this project."""

    name: str
    num_images: str
    licence: str
    address: str
    given: str  # what --from names
    mirror: bool
    download: Callable[..., Any] | None = None


REAL = {
    each.name: each
    for each in (
        RealSet(
            name="celeba",
            num_images="202,599",
            licence="research only, not commercial",
            address="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
            given="img_align_celeba, a folder or zip",
            mirror=True,
        ),
        RealSet(
            name="celeba-hq",
            num_images="30,000",
            licence="research only, not commercial",
            address="https://github.com/tkarras/progressive_growing_of_gans",
            given="pictures of 1024x1024 in a folder or zip, TFRecords or HDF5",
            mirror=True,
        ),
        RealSet(
            name="lsun-<category>",
            num_images="30 categories",
            licence="none stated",
            address="https://www.yf.io/p/lsun",
            given="the LMDB of a category, or a folder or zip",
            mirror=True,
        ),
        RealSet(
            name="cifar10",
            num_images="50,000",
            licence="none stated",
            address="https://www.cs.toronto.edu/~kriz/cifar.html",
            given="cifar-10-python.tar.gz or cifar-10-batches-py",
            mirror=False,
            download=download_cifar10,
        ),
        RealSet(
            name="mnist-rgb",
            num_images="1,000,000",
            licence="CC BY-SA 3.0",
            address="http://yann.lecun.com/exdb/mnist/",
            given="a folder with the IDX files of MNIST",
            mirror=False,
            download=download_mnist,
        ),
    )
}


@dataclass(frozen=True)
class Options:
    """What `pgbench data prepare` was asked for; None is the set's own way."""

    resolution: int | None = None
    max_images: int | None = None
    crop: Crop | None = None
    resize: Resize | None = None
    allow_upscale: bool = False


def prepare_real(name: str, path: Path, out: Path, options: Options) -> ImageStore:
    """A store at `out` of the named set that lies at `path`."""
    if not path.exists():
        raise ValueError(f"there is nothing at {path}; give --from what {name} is read from")
    _check_options(name, path, options)
    if name == "mnist-rgb":
        few = {} if options.max_images is None else {"num_images": options.max_images}
        store = mnist_rgb_store(path, out, **few)
    else:
        store = build_pictures(out, _pictures(name, path, out, options))
    remember(store.path)
    return store


def known_name(name: str) -> bool:
    """Whether `prepare_real` takes this name."""
    category = name.removeprefix(_LSUN) if name.startswith(_LSUN) else None
    return name in {"folder", *REAL} - {"lsun-<category>"} or category in CATEGORIES


def is_released(path: Path) -> bool:
    """Whether this is one of the authors' formats: an HDF5 file or a folder of TFRecords."""
    if path.is_dir():
        return any(path.glob("*.tfrecords"))
    return path.suffix.lower() in (".h5", ".hdf5")


def _pictures(name: str, path: Path, out: Path, options: Options) -> Pictures:
    most = options.max_images
    if is_released(path):
        mirrored = is_mirrored(name.removeprefix(_LSUN)) if name.startswith(_LSUN) else None
        mirror = mirrored if mirrored is not None else name in REAL and REAL[name].mirror
        opened = open_tfrecords if path.is_dir() else open_hdf5
        kept = store_name(out) if name == "folder" else name
        return opened(path, name=kept, mirror=mirror, max_images=most)
    if name.startswith(_LSUN):
        category, side = name.removeprefix(_LSUN), options.resolution or 256
        return open_lsun(
            path,
            category,
            resolution=side,
            allow_upscale=options.allow_upscale,
            max_images=most,
        )
    if name != "folder":
        opened_by = {"celeba": open_celeba, "celeba-hq": open_celeba_hq, "cifar10": open_cifar10}
        return opened_by[name](path, max_images=most)
    return open_folder(
        path,
        name=store_name(out),
        resolution=options.resolution,
        crop=options.crop or "none",
        resize=options.resize,
        allow_upscale=options.allow_upscale,
        max_images=most,
    )


def _check_options(name: str, path: Path, options: Options) -> None:
    """ValueError when an option would go unheeded."""
    free = {"folder": {"resolution", "crop", "resize", "allow_upscale"}}
    allowed = free.get(name, {"resolution", "allow_upscale"} if name.startswith(_LSUN) else set())
    if is_released(path):
        allowed = set()
    given = {key for key, value in vars(replace(options, max_images=None)).items() if value}
    for key in sorted(given - allowed):
        raise ValueError(
            f"--{key.replace('_', '-')} is not for {name} from {path.name}, whose pixels "
            "are fixed; leave it out"
        )


def remember(store: Path) -> None:
    """Note where a store is, for `known_stores`."""
    places = [place for place in _noted() if place != store.resolve()]
    text = "".join(f"{place}\n" for place in [*places, store.resolve()][-_MOST_KNOWN:])
    if "\n" in str(store.resolve()):
        return  # a list of lines cannot hold it
    _list_of_stores().parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(_list_of_stores(), text)


def known_stores() -> list[ImageStore]:
    """The stores that were made on this machine and are still there, cached ones included."""
    cached = sorted(path.parent for path in cache_folder().glob("*/dataset.json"))
    found = []
    for place in dict.fromkeys([*cached, *_noted()]):
        try:
            found.append(ImageStore.open(place))
        except (ValueError, OSError):  # gone or damaged: not there
            continue
    return found


def _noted() -> list[Path]:
    try:
        text = _list_of_stores().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return [Path(line) for line in text.splitlines()[-_MOST_KNOWN:] if line]


def _list_of_stores() -> Path:
    return cache_folder() / "stores.txt"
