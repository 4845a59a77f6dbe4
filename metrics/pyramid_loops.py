"""The pyramid's filter, one axis after the other, without what is dropped or zero (section 5).

Sums of uint8 are exact in float32.
"""

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.jit import compiled

Floats = NDArray[np.float32]


@compiled
def down(images: NDArray[np.uint8] | Floats, out: Floats) -> None:
    """Filter and keep every second pixel: (N, H, W) to (N, H/2, W/2); H, W even, above 2."""
    _, height, width = images.shape
    line = np.empty(width + 4, np.float32)  # mirrored at both ends
    four, six, part = np.float32(4), np.float32(6), np.float32(1 / 256)
    for n in range(len(images)):
        for y in range(0, height, 2):
            before, last = images[n, abs(y - 2)], images[n, abs(y - 1)]
            here, following = images[n, y], images[n, y + 1]
            after = images[n, min(y + 2, height - 2)]
            for x in range(width):
                total = six * here[x] + four * following[x] + four * last[x]
                line[x + 2] = total + before[x] + after[x]
            line[0], line[1] = line[4], line[3]
            line[width + 2] = line[width]
            row = out[n, y // 2]
            for x in range(width // 2):
                total = six * line[2 * x + 2] + four * line[2 * x + 3] + four * line[2 * x + 1]
                row[x] = (total + line[2 * x] + line[2 * x + 4]) * part


@compiled
def up(images: Floats, out: Floats) -> None:
    """Double the size and interpolate: (N, H, W) to (N, 2 H, 2 W); H, W at least 2."""
    _, height, width = images.shape
    wide = np.empty((height, 2 * width), np.float32)
    six, eighth, half = np.float32(6), np.float32(1 / 8), np.float32(1 / 2)
    for n in range(len(images)):
        for y in range(height):
            _widen(images[n, y], wide[y])
        for y in range(height):
            last, here = wide[abs(y - 1)], wide[y]
            following = wide[min(y + 1, height - 1)]
            even, odd = out[n, 2 * y], out[n, 2 * y + 1]
            for x in range(2 * width):
                even[x] = (six * here[x] + last[x] + following[x]) * eighth
                odd[x] = (here[x] + following[x]) * half


@compiled
def _widen(row: Floats, out: Floats) -> None:
    """Even pixels (1 6 1) / 8, odd ones (1 1) / 2."""
    six, eighth, half = np.float32(6), np.float32(1 / 8), np.float32(1 / 2)
    end = len(row) - 1
    for x in range(1, end):
        out[2 * x] = (six * row[x] + row[x - 1] + row[x + 1]) * eighth
        out[2 * x + 1] = (row[x] + row[x + 1]) * half
    # Mirrored among zeros: before pixel 0 comes pixel 1, after the last itself.
    out[0] = (six * row[0] + row[1] + row[1]) * eighth
    out[1] = (row[0] + row[1]) * half
    out[2 * end] = (six * row[end] + row[end - 1] + row[end]) * eighth
    out[2 * end + 1] = row[end]
