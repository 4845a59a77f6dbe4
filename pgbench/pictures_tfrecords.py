"""Data sets shared as TFRecords (section 4) as pictures, every level as it is stored.

All records of a file are equally long, as pictures of one size are, so a record is found by
its number alone and workers read in any order. Opening reads the first record of each level and
compares sizes and counts; every record's lengths and checksums are verified when it is read. Grey
sets (such as MNIST's) are replicated to RGB.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgbench.data import Images
from pgbench.pictures_labels import read_labels
from pgbench.prepare import Pictures, StoreDraft
from pgbench.tfrecords import HEAD, TAIL, decoded, masked_crc

_LARGEST = 10  # log2 of the largest side
_SPARE_BYTES = 1024  # of a record, beside its pixels
_AGAIN = "fetch the file again"


def open_tfrecords(
    path: Path, *, name: str, mirror: bool, max_images: int | None = None
) -> Pictures:
    """The first `max_images` pictures of a folder of TFRecords, with its labels."""
    files = _level_files(path)
    opened = [_RecordFile.open(file, resolution) for resolution, file in files.items()]
    full = opened[0]
    for level in opened:
        if level.num_records != full.num_records:
            raise ValueError(
                f"{level.file} holds {level.num_records} records and {full.file.name} "
                f"{full.num_records}; fetch the shorter one again"
            )
    prefix = full.file.name.rpartition("-")[0]
    labels = read_labels(path / f"{prefix}-rxx.labels", full.num_records)
    draft = StoreDraft(
        name=name,
        source=f"TFRecords {prefix}",
        crop="as stored",
        resolution=full.resolution,
        num_images=min(full.num_records, max_images or full.num_records),
        mirror=mirror,
    )
    return Pictures(
        draft,
        full,
        levels={level.resolution: level for level in opened[1:]},
        labels=None if labels is None else labels[: draft.num_images],
    )


def _level_files(folder: Path) -> dict[int, Path]:
    """The files of one set by their resolution, from full down to 4."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give --from the folder of the .tfrecords files")
    names = (re.fullmatch(r"(.+)-r([0-9]{2})\.tfrecords", file.name) for file in folder.iterdir())
    found = {(match[1], int(match[2])): folder / match[0] for match in names if match}
    sets = sorted({prefix for prefix, _ in found})
    if len(sets) != 1:
        raise ValueError(
            f"{folder} holds {', '.join(sets) or 'no files <name>-rNN.tfrecords'}; give --from a "
            "folder with the TFRecords of one data set"
        )
    full = max(log2 for _, log2 in found)
    if not 2 <= full <= _LARGEST:
        raise ValueError(
            f"{found[sets[0], full]} is of a resolution that is not supported; the largest level "
            f"must be from r02 to r{_LARGEST}"
        )
    for log2 in range(2, full + 1):
        file = folder / f"{sets[0]}-r{log2:02d}.tfrecords"
        if not file.is_file():
            raise ValueError(f"{file} is missing; a set needs all levels down to r02")
    return {2**log2: found[sets[0], log2] for log2 in range(full, 1, -1)}


@dataclass(frozen=True)
class _RecordFile:
    """A file of equally long records; called with a number it gives that picture, CHW uint8 RGB."""

    file: Path
    resolution: int
    record_bytes: int
    num_records: int

    @classmethod
    def open(cls, file: Path, resolution: int) -> "_RecordFile":
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = _length(file, 0, stream.read(HEAD))
        pixels = resolution**2
        if not pixels < length <= 3 * pixels + _SPARE_BYTES:
            raise _bad(
                file, 0, f"is {length} bytes long, no picture of {resolution}x{resolution} pixels"
            )
        record_bytes = HEAD + length + TAIL
        num_records, rest = divmod(size, record_bytes)
        if rest:
            raise _bad(file, num_records, f"is truncated, or not {record_bytes} bytes as the first")
        opened = cls(file, resolution, record_bytes, num_records)
        opened(0)
        return opened

    def __call__(self, index: int) -> Images:
        with self.file.open("rb") as stream:
            stream.seek(index * self.record_bytes)
            record = stream.read(self.record_bytes)
        length = _length(self.file, index, record[:HEAD])
        if HEAD + length + TAIL != self.record_bytes or len(record) != self.record_bytes:
            raise _bad(self.file, index, f"is not {self.record_bytes} bytes as the first")
        payload = record[HEAD:-TAIL]
        if masked_crc(payload) != record[-TAIL:]:
            raise _bad(self.file, index, "is damaged, the checksum of its data is wrong")
        return self._pixels(payload, index)

    def _pixels(self, payload: bytes, index: int) -> Images:
        try:
            image = decoded(payload)
        except ValueError as error:
            raise _bad(self.file, index, str(error)) from error
        side = self.resolution
        if image.shape not in ((3, side, side), (1, side, side)):
            raise _bad(self.file, index, f"is {image.shape}, not (3, {side}, {side})")
        return np.broadcast_to(image, (3, side, side))


def _length(file: Path, index: int, head: bytes) -> int:
    """Bytes of the payload that follows these of a record."""
    if len(head) != HEAD:
        raise _bad(file, index, "is truncated")
    if masked_crc(head[:8]) != head[8:]:
        raise _bad(file, index, "is damaged, the checksum of its length is wrong")
    return int.from_bytes(head[:8], "little")


def _bad(file: Path, index: int, why: str) -> ValueError:
    return ValueError(f"{file} cannot be read: record {index}, counted from 0, {why}; {_AGAIN}")
