"""Label files that lie beside the released TFRecords and HDF5 files (section 4): one .npy each."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_labels(file: Path, num_images: int) -> NDArray[Any] | None:
    """Numbers (num_images,) or (num_images, K) of a .npy; None when there is no file or K is 0."""
    if not file.is_file():
        return None
    try:
        labels = np.lib.format.open_memmap(file, mode="r")  # never a pickle, never a zip
    except Exception as error:  # on damaged headers numpy raises nearly anything
        raise ValueError(
            f"{file} cannot be read as a plain .npy ({error}); fetch it again, or move it away to "
            "go without labels"
        ) from error
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2) or len(labels) != num_images:
        raise ValueError(
            f"{file} holds {labels.dtype} {labels.shape} instead of one label or one row of "
            f"numbers for each of {num_images} images; move it away to go without labels"
        )
    return np.array(labels) if labels.size else None
