"""MNIST's IDX files, and the RGB composites of its digits with 1000 modes (table 4, section 5).

Each channel of a composite is a training digit of its own, zero-padded from 28 to 32 pixels.
Fashion-MNIST has files of the same names and form.
"""

import gzip
import hashlib
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pgbench.data import Images, ImageStore
from pgbench.metrics.messages import reason, shown
from pgbench.prepare import StoreDraft, build_composed

if TYPE_CHECKING:
    from pgbench.metrics.digits import Digits

Part = Literal["train", "t10k"]

COMPOSITES = 9  # purpose of the random stream
DIGIT_LABELS, TEST_DIGITS, TEST_LABELS = "digit-labels.npy", "test-digits.npy", "test-labels.npy"
_SIDE = 28
_PADDING = 2
_MAX_DIGITS = 1_000_000
_NUM_DIGITS = {"train": 60_000, "t10k": 10_000}
_TRAIN_SHA256 = {  # of the unpacked published files
    "images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}


def open_mnist(path: Path, *, part: Part = "train") -> tuple[Images, NDArray[np.uint8]]:
    """Digits (N, 28, 28) and labels (N,), both uint8, of the training or the test set."""
    images_file = _find(path, f"{part}-images", "idx3-ubyte")
    labels_file = _find(path, f"{part}-labels", "idx1-ubyte")
    images = _read_idx(images_file, (_SIDE, _SIDE))
    labels = _read_idx(labels_file, ())
    if len(images) != len(labels):
        raise ValueError(
            f"{shown(images_file)} has {len(images)} digits and {shown(labels_file)} "
            f"{len(labels)} labels; fetch both again"
        )
    if labels.max() > 9:
        raise ValueError(f"{shown(labels_file)} has a label {labels.max()}; labels are 0 to 9")
    return images, labels


def mnist_rgb_store(
    path: Path, out: Path, *, num_images: int = 1_000_000, seed: int = 123
) -> ImageStore:
    """Composites 32x32 of the training digits in folder `path`, with the modes as labels.

    The digits of image i are row i of `default_rng([seed, COMPOSITES]).integers(N, size=(.., 3))`;
    its label is the mode 100*R + 10*G + B, uint16. The store keeps digits and their numbers, and
    what the classifier of modes needs: their labels and, if the folder has them, the test digits.
    """
    digits, labels = open_mnist(path)
    rng = np.random.default_rng([seed, COMPOSITES])
    index = rng.integers(len(digits), size=(num_images, 3))
    modes = labels[index].astype(np.uint16) @ np.array([100, 10, 1], np.uint16)
    draft = StoreDraft(
        name="mnist-rgb",
        source=f"three random training digits of MNIST, seed {seed}",
        crop="none, 28x28 padded with 2 zeros on each side",
        resolution=_SIDE + 2 * _PADDING,
        num_images=num_images,
        mirror=False,
    )
    beside = {DIGIT_LABELS: labels}
    if any(path.glob("t10k-images*")):
        test_digits, test_labels = open_mnist(path, part="t10k")
        beside |= {TEST_DIGITS: _padded(test_digits), TEST_LABELS: test_labels}
    note = _note(digits, labels)
    return build_composed(
        out, draft, _padded(digits), index, labels=modes, note=note, beside=beside
    )


def open_digits(path: Path) -> "Digits":
    """Training and test digits of a store of composites, or of a folder of MNIST's files."""
    from pgbench.metrics.digits import Digits  # needs torch, which listing data sets does not

    if not (path / "dataset.json").exists():
        (digits, labels), (test_digits, test_labels) = (
            open_mnist(path),
            open_mnist(path, part="t10k"),
        )
        return Digits(_padded(digits), labels, _padded(test_digits), test_labels)
    store = ImageStore.open(path)
    if not store.info.composed:
        raise ValueError(f"{shown(path)} is no store of mnist-rgb; give one, or MNIST's files")
    names = (f"{store.info.resolution}.npy", DIGIT_LABELS, TEST_DIGITS, TEST_LABELS)
    try:
        return Digits(*(np.load(path / name, allow_pickle=False) for name in names))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{shown(path)} lacks MNIST's test digits ({reason(error)}); prepare it again from a "
            "folder that also has the files t10k-images and t10k-labels"
        ) from error


def _padded(digits: Images) -> Images:
    margin = (_PADDING, _PADDING)
    return np.pad(digits, ((0, 0), margin, margin))


def _note(images: Images, labels: NDArray[np.uint8]) -> str:
    """How the training digits differ from the published ones."""
    count, expected = len(images), _NUM_DIGITS["train"]
    if count != expected:
        return f"{count:,} of the expected {expected:,} digits"
    found = {"images": _idx_sha256(images), "labels": _idx_sha256(labels)}
    return "" if found == _TRAIN_SHA256 else "not the published digits of MNIST, by SHA-256"


def _idx_sha256(array: NDArray[np.uint8]) -> str:
    return hashlib.sha256(_header(array.shape) + array.tobytes()).hexdigest()


def _header(shape: tuple[int, ...]) -> bytes:
    """What an IDX file of bytes begins with: 8 says uint8, then rank and sizes, big-endian."""
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def _find(folder: Path, stem: str, ending: str) -> Path:
    """The file as published, unpacked, or with the dot that some programs put into its name."""
    names = [f"{stem}{mark}{ending}{packed}" for mark in "-." for packed in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{shown(folder)} holds no {names[0]} or {names[1]}; give the folder of MNIST's files"
    )


def _read_idx(file: Path, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """(N, *item) uint8 of one IDX file, packed or not."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            count = _read_header(stream, shown(file), item)
            num_bytes = count * int(np.prod(item))
            content = stream.read(num_bytes + 1)  # no more, whatever it unpacks to
    except (OSError, EOFError, zlib.error) as error:
        why = reason(error)
        raise ValueError(f"{shown(file)} cannot be read ({why}); fetch it again") from error
    if len(content) != num_bytes:
        have = "more" if len(content) > num_bytes else f"{len(content)}"
        raise ValueError(
            f"{shown(file)} should have {num_bytes} bytes after its header and has {have}; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(count, *item).copy()  # can be written to


def _read_header(stream: BufferedIOBase, label: str, item: tuple[int, ...]) -> int:
    header = stream.read(len(_header((0, *item))))
    count = int.from_bytes(header[4:8], "big")
    if header != _header((count, *item)):
        what = f"{_SIDE}x{_SIDE} images" if item else "labels"
        raise ValueError(f"{label} is no IDX file of {what}; fetch it again")
    if not 1 <= count <= _MAX_DIGITS:
        raise ValueError(f"{label} says it has {count} items; 1 to {_MAX_DIGITS} are read")
    return count
