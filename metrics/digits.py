"""The classifier that reads the digits of table 4's modes (paper, section 6.3 and appendix D).

Convolutions 32, 32, max-pool, 55, 55, max-pool, 96, 96 (valid), max-pool, softmax of 10, leaky ReLU
0.1. It is trained here, once, on MNIST's training digits padded to 32x32, and then kept in the
user's cache under a key of the digits' bytes, the settings and the version.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pgbench.metrics.cache import cache_folder, whole_file
from pgbench.metrics.imageset import Pixels, Progress
from pgbench.metrics.messages import reason, shown
from pgbench.metrics.precision import full_float32

VERSION = 1
SIDE = 32

_CLASSES = 10
_SLOPE = 0.1
_WEIGHTS, _ORDER = 0, 1  # purposes of the random streams
_BATCH = 100  # digits that are read at once: what is computed of them stays in the cache
_MAX_BYTES = 2**22  # of a kept classifier; it has 1.3 MB

_log = logging.getLogger(__name__)
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """Digits to learn from, and others to be tested with.

    Attributes
    ----------
    images, test_images : (N, 32, 32) uint8
        Grey, [0, 255].
    labels, test_labels : (N,) uint8
        0 to 9.
    """

    images: Pixels = field(repr=False)
    labels: Labels = field(repr=False)
    test_images: Pixels = field(repr=False)
    test_labels: Labels = field(repr=False)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the shapes and bytes of all four."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode() + array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Training:
    """How the classifier learns: Adam, with a learning rate that rises and falls once."""

    seed: int = 0
    epochs: int = 8
    minibatch: int = 100
    lr: float = 2e-3
    shift: int = 2  # pixels, in each direction, at random


@dataclass(frozen=True)
class DigitReader:
    """A trained classifier and what is known of it.

    Attributes
    ----------
    network : nn.Module
        (N, 1, 32, 32) float32 in [0, 1] to 10 logits.
    device : torch.device
    test_error : float
        The fraction of the test digits that it reads wrongly.
    num_test : int
        How many these are.
    sha256 : str
        Of its weights.
    """

    network: nn.Module = field(repr=False)
    device: torch.device
    test_error: float
    num_test: int
    sha256: str

    def __call__(self, digits: Pixels) -> Labels:
        """The digits (N,) read in grey images (N, 32, 32), uint8."""
        if digits.shape[1:] != (SIDE, SIDE) or digits.dtype != np.uint8:
            raise ValueError(
                f"Digits are read in uint8 images of {SIDE}x{SIDE}, not in "
                f"{digits.dtype} of shape {digits.shape}."
            )
        return _read(self.network, digits, self.device)

    @property
    def protocol(self) -> dict[str, Any]:
        """What of the classifier changes the modes."""
        return {
            "classifier_sha256": self.sha256,
            "classifier_test_error": self.test_error,
            "classifier_test_digits": self.num_test,
        }


def classifier(rng: torch.Generator | None = None) -> nn.Sequential:
    """The untrained network, He-normal; without `rng` that of seed 0.

    (N, 1, 32, 32) float32 in [0, 1] to (N, 10) logits.
    """
    rng = torch.Generator().manual_seed(0) if rng is None else rng
    plan = ((1, 32, 1), (32, 32, 1), (32, 55, 1), (55, 55, 1), (55, 96, 0), (96, 96, 0))
    layers: list[nn.Module] = []
    for i, (maps_in, maps_out, padding) in enumerate(plan):
        layers += [nn.Conv2d(maps_in, maps_out, 3, padding=padding), nn.LeakyReLU(_SLOPE)]
        layers += [nn.MaxPool2d(2)] if i % 2 else []
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 2 * 2, _CLASSES))
    for weight in network.parameters():
        std = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.0
        with torch.no_grad():
            weight.copy_(std * torch.randn(weight.shape, generator=rng))
    return network


def open_digit_reader(
    digits: Digits,
    *,
    device: torch.device | str = "cpu",
    training: Training | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> DigitReader:
    """The classifier of these digits: the kept one, or one that is trained now and kept.

    Parameters
    ----------
    digits : Digits
    device : torch.device or str
        Where it is trained and used; a kept one may have been trained elsewhere.
    training : Training, optional
    folder : Path, optional
        Where classifiers are kept, by default in the user's cache folder.
    progress : callable, optional
        Called with the fraction of the training that is done.

    Raises
    ------
    ValueError
        The digits are of other shapes, or there are none.
    """
    _check(digits)
    training = Training() if training is None else training
    chosen = torch.device(device)
    parts = {"version": VERSION, "digits": digits.fingerprint(), **asdict(training)}
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    place = (folder or cache_folder("classifiers")) / f"digits-{key}.safetensors"
    with _alone(place):
        reader = _load(place, chosen)
        if reader is None:
            with full_float32():
                reader = _trained(digits, training, chosen, progress)
            _keep(place, reader)
    return reader


def _check(digits: Digits) -> None:
    pairs = ((digits.images, digits.labels), (digits.test_images, digits.test_labels))
    for images, labels in pairs:
        if images.shape != (len(labels), SIDE, SIDE) or not len(labels):
            raise ValueError(
                f"The classifier learns from uint8 digits (N, {SIDE}, {SIDE}) with labels (N,), "
                f"not from {images.shape} with {labels.shape}."
            )
        if labels.max() >= _CLASSES:
            raise ValueError(f"Labels of digits are 0 to 9, not {labels.max()}.")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Runs that start together train one classifier, not one each."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(f".{place.name}.lock"))
        lock.acquire()
    except OSError:  # nothing can be kept there, which `_keep` will say
        yield
        return
    with lock:
        lock.release()  # `with` took it once more
        yield


def _trained(
    digits: Digits, training: Training, device: torch.device, progress: Progress | None
) -> DigitReader:
    network = classifier(_generator(training.seed)).to(device)
    network.to(memory_format=torch.channels_last)  # half the time on a CPU
    per_epoch = -(-len(digits.labels) // training.minibatch)
    total = training.epochs * per_epoch
    adam = torch.optim.Adam(network.parameters(), training.lr)
    rates = torch.optim.lr_scheduler.OneCycleLR(adam, training.lr, total_steps=total)
    for step, (images, labels) in enumerate(_minibatches(digits, training)):
        loss = F.cross_entropy(network(_to_tensor(images, device)), labels.to(device))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        rates.step()
        if progress is not None:
            progress((step + 1) / total)
    return _reader(network, digits, device)


def _minibatches(digits: Digits, training: Training) -> Iterator[tuple[Pixels, Tensor]]:
    """Every digit once an epoch, each time moved a little: what comes in is filled with black."""
    reach = training.shift
    padded = np.pad(digits.images, ((0, 0), (reach, reach), (reach, reach)))
    windows = sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    for epoch in range(training.epochs):
        rng = np.random.default_rng((training.seed, _ORDER, epoch))
        order = rng.permutation(len(padded))
        down, right = rng.integers(2 * reach + 1, size=(2, len(padded)))
        for start in range(0, len(padded), training.minibatch):
            chosen = order[start : start + training.minibatch]
            labels = torch.from_numpy(digits.labels[chosen].astype(np.int64))
            yield windows[chosen, down[chosen], right[chosen]], labels


def _reader(network: nn.Module, digits: Digits, device: torch.device) -> DigitReader:
    network.eval().requires_grad_(False)
    wrong = _read(network, digits.test_images, device) != digits.test_labels
    return DigitReader(network, device, float(wrong.mean()), len(wrong), _sha256(network))


def _read(network: nn.Module, digits: Pixels, device: torch.device) -> Labels:
    parts = (digits[start : start + _BATCH] for start in range(0, len(digits), _BATCH))
    with torch.inference_mode(), full_float32():
        found = [network(_to_tensor(part, device)).argmax(1).cpu().numpy() for part in parts]
    return np.concatenate(found).astype(np.uint8)


def _to_tensor(digits: Pixels, device: torch.device) -> Tensor:
    scaled = torch.from_numpy(digits[:, None]).to(device).float() / 255
    return scaled.contiguous(memory_format=torch.channels_last)


def _generator(seed: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, _WEIGHTS)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _keep(place: Path, reader: DigitReader) -> None:
    weights = {
        name: value.cpu().contiguous() for name, value in reader.network.state_dict().items()
    }
    info = {"test_error": reader.test_error, "num_test": reader.num_test, "sha256": reader.sha256}
    metadata = {"pgbench": json.dumps(info), "seal": _seal(info)}
    try:
        with whole_file(place) as file:
            file.write(save(weights, metadata=metadata))
    except OSError as error:  # a full disk costs time the next time, not this result
        _log.warning("the classifier was not kept in %s: %s", shown(place.parent), reason(error))


def _load(place: Path, device: torch.device) -> DigitReader | None:
    """The kept classifier; None where there is none, or none that is what was kept."""
    if not place.exists():
        return None
    network = classifier()
    try:
        if place.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        with safe_open(place, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        info = json.loads(metadata["pgbench"])
        if metadata["seal"] != _seal(info) or info["sha256"] != _sha256(network):
            raise ValueError("its checksum is another")
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        _log.warning(
            "the classifier %s is damaged (%s) and is trained again", shown(place), reason(error)
        )
        return None
    network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    return DigitReader(network, device, **info)


def _seal(info: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()
