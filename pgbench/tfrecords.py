"""TFRecord files of pictures, as the paper's TensorFlow release shares its data sets (section 4).

A set is a folder with `<name>-rNN.tfrecords` for each level, NN the log2 of its side, from full
down to 02, and where there are labels `<name>-rxx.labels`: a NumPy file of (N, K) float32. A file
is one record after another: the length of its payload as uint64 (little-endian), the masked
CRC-32C of these 8 bytes, the payload, the masked CRC-32C of the payload. Each payload is a
`tf.train.Example` with `shape`, three int64 (channels, height, width), and `data`, the uint8
pixels in that order.

Checksum and protobuf are those of the package `tfrecord`. The framing is written here, for the
package's reader verifies no checksum and reserves whatever memory a length asks for, and its
writer leaves the order of the two features, so the bytes of a file, to chance. Here `data` comes
before `shape`.
"""

import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.atomic import sync_folder
from pgbench.data import Images, ImageStore
from pgbench.prepare import SHARD, levels

HEAD = 12  # bytes of a record before its payload
TAIL = 4  # bytes after it
_MAX_CLASSES = 2**16


def write_tfrecords(
    store: ImageStore, out: Path, *, progress: Callable[[float], None] | None = None
) -> None:
    """Write a store into the new folder `out`: each level, and the labels where it has some.

    Labels that are integers (N,) become one-hot; rows (N, K) are kept as they are, in float32.
    `progress` is told the fraction done.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; choose another --out or remove it")
    if store.labels is not None:
        _check_labels(store, store.labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as beside:
        building = Path(beside) / "whole"
        building.mkdir()
        _write_levels(store, building, progress or (lambda done: None))
        if store.labels is not None:
            _write_labels(building / f"{store.info.name}-rxx.labels", store.labels)
        sync_folder(building)
        building.rename(out)
    sync_folder(out.parent)


def framed(payload: bytes) -> bytes:
    """The record of a payload."""
    length = struct.pack("<Q", len(payload))
    return length + masked_crc(length) + payload + masked_crc(payload)


def masked_crc(data: bytes) -> bytes:
    """The masked CRC-32C of `data`, 4 bytes."""
    return bytes(_tfrecord().writer.TFRecordWriter.masked_crc(data))


def encoded(image: Images) -> bytes:
    """The Example of one CHW uint8 image."""
    example = _tfrecord().example_pb2.Example()
    example.features.feature["data"].bytes_list.value.append(image.tobytes())
    example.features.feature["shape"].int64_list.value.extend(image.shape)
    return bytes(example.SerializeToString(deterministic=True))  # features in order of their names


def decoded(payload: bytes) -> Images:
    """The CHW uint8 image of an Example; ValueError with words that follow a record's name."""
    from google.protobuf.message import DecodeError

    try:
        features = _tfrecord().example_pb2.Example.FromString(payload).features.feature
    except DecodeError as error:
        raise ValueError("is no tf.train.Example") from error
    if "data" not in features or "shape" not in features:
        raise ValueError("lacks the feature data or shape")
    data, shape = features["data"].bytes_list.value, tuple(features["shape"].int64_list.value)
    if len(data) != 1 or len(shape) != 3:
        raise ValueError("lacks one string of bytes as data or three integers as shape")
    if min(shape) < 1 or math.prod(shape) != len(data[0]):
        raise ValueError(f"holds {len(data[0])} bytes of data for the shape {shape}")
    return np.frombuffer(data[0], np.uint8).reshape(shape)


def _tfrecord() -> Any:
    try:
        import tfrecord
    except ImportError as error:
        raise ValueError(
            "TFRecords need the package tfrecord; install it with: pip install 'pgbench[official]'"
        ) from error
    return tfrecord


def _write_levels(store: ImageStore, folder: Path, progress: Callable[[float], None]) -> None:
    count, sizes = store.info.num_images, levels(store.info.resolution)
    done, total = 0, count * sum(r**2 for r in sizes)
    for resolution in sizes:
        log2 = resolution.bit_length() - 1
        with (folder / f"{store.info.name}-r{log2:02d}.tfrecords").open("xb") as file:
            for start in range(0, count, SHARD):
                images = store.level(resolution)[start : start + SHARD]
                file.writelines(framed(encoded(image)) for image in images)
                done += len(images) * resolution**2
                progress(done / total)
            file.flush()
            os.fsync(file.fileno())


def _check_labels(store: ImageStore, labels: NDArray[Any]) -> None:
    integers, rows = labels.dtype.kind in "iu", labels.dtype.kind in "biu"
    fit = (
        integers and labels.min() >= 0 and labels.max() < _MAX_CLASSES
        if labels.ndim == 1
        else labels.ndim == 2 and (rows or labels.dtype == np.float32)
    )
    if not fit:
        raise ValueError(
            f"{store.path} has labels {labels.dtype} {labels.shape}, which TFRecords do not hold; "
            f"give (N,) integers from 0 to {_MAX_CLASSES - 1} or (N, K) rows of float32"
        )


def _write_labels(file: Path, labels: NDArray[Any]) -> None:
    """Some rows at a time: one-hot labels are much larger than integers."""
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(labels), classes)}
    with file.open("xb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(labels), SHARD):
            stream.write(_rows(labels[start : start + SHARD], classes).tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def _rows(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    rows = labels if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return rows.astype("<f4")
