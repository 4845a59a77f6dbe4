"""Fetching published files: resumed after a break, checked, in place whole or not at all.

Addresses and MD5 sums of MNIST and CIFAR-10 are those that torchvision knows.
"""

import hashlib
import http.client
import json
import os
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from pgbench.atomic import sync_folder, write_text_atomically

Progress = Callable[[float], None]  # fraction done

_TIMEOUT_SEC = 30.0  # without a byte
_CHUNK = 2**18
_MAX_BYTES = 2**30
_MAX_TRIES = 20  # each must bring something
_RECORD = "downloads.json"


class _BrokenOffError(Exception):
    """The file did not come, or not to its end."""


def download_mnist(folder: Path, *, progress: Progress | None = None) -> None:
    """The four files of MNIST, packed as published, into `folder`."""
    from torchvision.datasets import MNIST

    for done, (name, md5) in enumerate(MNIST.resources):
        part = _part_of(progress, done, len(MNIST.resources))
        _download([f"{mirror}{name}" for mirror in MNIST.mirrors], folder / name, md5, part)


def download_cifar10(folder: Path, *, progress: Progress | None = None) -> Path:
    """The archive of CIFAR-10 for Python, into `folder`; returns its place."""
    from torchvision.datasets import CIFAR10

    place: Path = folder / CIFAR10.filename
    _download([CIFAR10.url], place, CIFAR10.tgz_md5, progress)
    return place


def _part_of(progress: Progress | None, done: int, count: int) -> Progress | None:
    return None if progress is None else lambda fraction: progress((done + fraction) / count)


def _download(urls: Iterable[str], place: Path, md5: str, progress: Progress | None) -> None:
    """The file from the first address that gives it; `downloads.json` beside it says which."""
    failures = []
    for url in urls:
        try:
            sha256 = fetch(url, place, md5=md5, progress=progress)
        except ValueError as error:
            failures.append(error)
        else:
            _record(place, {"url": url, "md5": md5, "sha256": sha256})
            return
    raise failures[0]


def _record(place: Path, facts: Mapping[str, str]) -> None:
    file = place.parent / _RECORD
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    write_text_atomically(file, json.dumps(known | {place.name: dict(facts)}, indent=2) + "\n")


def fetch(
    url: str,
    place: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Put the file at `url` in `place` unless it is there; returns its SHA-256.

    At least one of the two sums must be given. What came before a break is kept in `<place>.part`.
    """
    sums = {"sha256": sha256, "md5": md5}
    expected = {name: value for name, value in sums.items() if value is not None}
    if not expected:
        raise ValueError(f"{url} can only be fetched with its SHA-256 or MD5 to check it")
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):
        if not place.exists():
            _fetch(url, place, expected, progress)
        elif not _fits(place, expected):
            raise ValueError(f"{place} is another file than {url}, or damaged; remove it")
        return _digest(place, "sha256")


def _fetch(url: str, place: Path, expected: Mapping[str, str], progress: Progress | None) -> None:
    part = place.with_name(f"{place.name}.part")
    if not (part.exists() and _fits(part, expected)):
        _receive_all(url, place, part, progress)
        if not _fits(part, expected):
            part.unlink()
            raise ValueError(_by_hand(url, place, "other bytes came than expected"))
    part.replace(place)
    sync_folder(place.parent)


def _by_hand(url: str, place: Path, why: str) -> str:
    return (
        f"{url} could not be fetched ({why}); run the command again, or fetch the file by hand "
        f"and save it as {place}"
    )


def _fits(file: Path, expected: Mapping[str, str]) -> bool:
    return all(_digest(file, name) == value for name, value in expected.items())


def _digest(file: Path, name: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(
            stream, lambda: hashlib.new(name, usedforsecurity=False)
        ).hexdigest()


def _receive_all(url: str, place: Path, part: Path, progress: Progress | None) -> None:
    """Fill `part`, going on after a break as long as each try brings something."""
    why = f"it broke off {_MAX_TRIES} times"
    for _ in range(_MAX_TRIES):
        before = _size(part)
        try:
            _receive(url, part, progress)
            return
        except _BrokenOffError as error:
            if _size(part) <= before:
                why = str(error)
                break
    raise ValueError(_by_hand(url, place, why))


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what it lacks, or begin it anew where the server cannot go on."""
    response, received = _opened(url, _size(part))
    with response, part.open("r+b" if received else "wb") as file:
        file.seek(received)
        total = None if response.length is None else received + response.length
        for chunk in _chunks(response):
            file.write(chunk)
            received += len(chunk)
            if received > _MAX_BYTES:
                part.unlink()
                raise ValueError(f"{url} is refused: it has more than {_MAX_BYTES:,} bytes")
            if progress is not None and total:
                progress(received / total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received < total:
        raise _BrokenOffError(f"it broke off after {received:,} of {total:,} bytes")


def _opened(url: str, start: int) -> tuple[http.client.HTTPResponse, int]:
    """The response, and at which byte of the file it begins: at `start` or at 0."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SEC)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == 416:  # the server's file ends before
            return _opened(url, 0)
        raise _BrokenOffError(f"the server says {error.code} {_why(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_why(error)) from error
    if response.status != 206:
        return response, 0
    if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return response, start
    response.close()
    if start:
        return _opened(url, 0)
    raise _BrokenOffError("the server sends a part that was not asked for")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, as it comes: a break loses nothing that was received."""
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_why(error)) from error


def _why(error: Exception) -> str:
    """What an error, or a server through it, says: short and on one line."""
    said = textwrap.shorten(str(getattr(error, "reason", error)), 200) or type(error).__name__
    return said if said.isprintable() else ascii(said)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
