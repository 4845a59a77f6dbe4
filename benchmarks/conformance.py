"""What known wrong ports would print on the same images: python benchmarks/conformance.py

The images are the built-in scenes, crops of the photographs inside scikit-image; the fakes are
other crops, slightly blurred and tinted, as a network would put them out: floats that go a little
beyond [-1, 1]. A plain float64 transcription of each metric computes the right value; where pgbench
is more than 1e-5 off, nothing is printed. Each wrong port is the transcription with one part
exchanged. Only the random streams, patch positions and directions, are those of pgbench.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg, ndimage

from pgbench import scenes
from pgbench.metrics import msssim, swd
from pgbench.metrics.frechet import frechet_distance, statistics
from pgbench.metrics.patches import patch_corners
from pgbench.metrics.transport import unit_directions

SEED = 0
AGREEMENT = 1e-5  # relative, of the transcription and pgbench

Pixels = NDArray[np.uint8]  # NCHW, [0, 255]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]  # corners (N, patches per image, 2) or pairs (2, N)
Values = Mapping[str, float]
Pair = tuple[Floats, Floats]


def real_images(count: int, resolution: int) -> Pixels:
    """Crops of photographs."""
    return np.stack([scenes.render(0, i, resolution=resolution) for i in range(count)])


def fake_outputs(count: int, resolution: int) -> Floats:
    """Other crops, blurred, tinted and with more contrast: NCHW, a little beyond [-1, 1]."""
    images = np.stack([scenes.render(1, i, resolution=resolution) for i in range(count)])
    blurred = ndimage.gaussian_filter(images / 127.5 - 1, (0, 0, 0.5, 0.5))
    tinted: Floats = 1.1 * blurred + np.array([0.04, 0, -0.04])[:, None, None]
    return tinted


def to_pixels(outputs: Floats) -> Pixels:
    """[-1, 1] to [0, 255], rounded and clipped."""
    return np.clip(np.rint(outputs * 127.5 + 127.5), 0, 255).astype(np.uint8)


def to_floats(outputs: Floats) -> Floats:
    """[-1, 1] to [0, 255], neither rounded nor clipped."""
    return outputs * 127.5 + 127.5


def to_wrapped(outputs: Floats) -> Pixels:
    """[-1, 1] to [0, 255]; what lies beyond comes back at the other end."""
    return to_floats(outputs).astype(np.int64).astype(np.uint8)


def right_corners(size: int, count: int) -> Indices:
    """128 patches per image, centres in [3, size - 3)."""
    return patch_corners(SEED, size, count)


def short_corners(size: int, count: int) -> Indices:
    """The last row and column of centres is never drawn."""
    stream = np.random.default_rng((SEED, 1, size))  # the one that the right ones come from
    return stream.integers(0, size - 7, (count, 128, 2))


def right_directions(size: int) -> Floats:
    """512 of unit length, (512, 147)."""
    return unit_directions(SEED, size).astype(np.float64)


def gaussian_directions(size: int) -> Floats:
    """Their lengths are about √147."""
    stream = np.random.default_rng((SEED, 2, size))  # the one that the right ones come from
    return stream.standard_normal((512, 147))


def each_set(a: Floats, b: Floats) -> Pair:
    """Each set by its own mean and standard deviation per channel; (N, 3, 49) each."""
    return _standardised(a, a, axis=(0, 2)), _standardised(b, b, axis=(0, 2))


def both_sets(a: Floats, b: Floats) -> Pair:
    """Both sets by the moments of their union."""
    union = np.concatenate([a, b])
    return _standardised(a, union, axis=(0, 2)), _standardised(b, union, axis=(0, 2))


def each_patch(a: Floats, b: Floats) -> Pair:
    """Each channel of each patch by its own moments."""
    return _standardised(a, a, axis=2), _standardised(b, b, axis=2)


def _standardised(x: Floats, of: Floats, *, axis: int | tuple[int, ...]) -> Floats:
    std = of.std(axis=axis, keepdims=True)
    standardised: Floats = (x - of.mean(axis=axis, keepdims=True)) / np.where(std > 0, std, 1)
    return standardised


@dataclass(frozen=True)
class Swd:
    """The sliced Wasserstein distance; a wrong port exchanges one of its parts."""

    pixels: Callable[[Floats], NDArray[Any]] = to_pixels
    part_of_images: float = 1.0  # the first ones
    border: str = "mirror"  # in SciPy's words
    lowpass: bool = True  # the last level is the low-pass image
    corners: Callable[[int, int], Indices] = right_corners
    normalised: Callable[[Floats, Floats], Pair] = each_set
    directions: Callable[[int], Floats] = right_directions
    kept: Any = np.float64  # what levels, descriptors, directions and projections are rounded to

    def __call__(self, reals: Pixels, outputs: Floats) -> Values:
        """The value of each level and the average."""
        count = round(len(reals) * self.part_of_images)
        sets = reals[:count], self.pixels(outputs[:count])
        levels = zip(*map(self.pyramid, sets), strict=True)
        found = {str(a.shape[2]): self.distance(a, b) for a, b in levels}
        return {**found, "avg": float(np.mean(list(found.values())))}

    def pyramid(self, images: NDArray[Any]) -> list[Floats]:
        """The Laplacian levels, finest first: (N, 3, size, size) each."""
        levels = []
        lowpass = images.astype(np.float64)
        while lowpass.shape[2] > 16:
            smaller, level = self._split(lowpass)
            levels.append(level)
            lowpass = smaller
        return [*levels, lowpass if self.lowpass else self._split(lowpass)[1]]

    def _split(self, images: Floats) -> Pair:
        """The next low-pass image, and what it lacks."""
        smaller = self._filtered(images)[:, :, ::2, ::2]
        sparse = np.zeros_like(images)
        sparse[:, :, ::2, ::2] = smaller
        return smaller, images - 4 * self._filtered(sparse)

    def _filtered(self, images: Floats) -> Floats:
        binomial = np.array([1, 4, 6, 4, 1]) / 16
        rows = ndimage.correlate1d(images, binomial, axis=2, mode=self.border)
        filtered: Floats = ndimage.correlate1d(rows, binomial, axis=3, mode=self.border)
        return filtered

    def patches(self, level: Floats) -> Floats:
        """(N x patches per image, 3, 49)."""
        corners = self.corners(level.shape[2], len(level))
        windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), axis=(2, 3))
        found = windows[np.arange(len(level))[:, None], :, corners[..., 0], corners[..., 1]]
        return found.reshape(-1, 3, 49)

    def descriptors(self, a: Floats, b: Floats) -> list[Floats]:
        """The normalised patches of two levels, (N x patches per image, 147) each."""
        patches = (self.patches(self._kept(level)) for level in (a, b))
        return [self._kept(x.reshape(-1, 147)) for x in self.normalised(*patches)]

    def distance(self, a: Floats, b: Floats) -> float:
        """Of two levels, times 1000."""
        sets = self.descriptors(a, b)
        directions = self._kept(self.directions(a.shape[2]))
        found = []
        for block in np.array_split(directions, 16):  # all at once would not fit in the cache
            sorted_a, sorted_b = (np.sort(self._kept(block @ x.T), axis=1) for x in sets)
            found.extend(np.abs(sorted_a - sorted_b).mean(axis=1))
        return 1000 * float(np.mean(found))

    def _kept(self, x: Floats) -> Floats:
        return x.astype(self.kept, copy=False).astype(np.float64, copy=False)


SWD_PORTS: dict[str, Swd] = {
    "directions not of unit length": Swd(directions=gaussian_directions),
    "zero padding in the pyramid": Swd(border="constant"),
    "normalised per patch": Swd(normalised=each_patch),
    "normalised jointly": Swd(normalised=both_sets),
    "last level band-pass, not low-pass": Swd(lowpass=False),
    "patch range one too short": Swd(corners=short_corners),
    "64 patches an image": Swd(corners=lambda size, count: right_corners(size, count)[:, :64]),
    "147 directions": Swd(directions=lambda size: right_directions(size)[:147]),
    "half the images": Swd(part_of_images=0.5),
    "float16": Swd(kept=np.float16),
    "fakes neither rounded nor clipped": Swd(pixels=to_floats),
    "fakes truncated and wrapped": Swd(pixels=to_wrapped),
}
SWD_PORTS["64 patches, 147 directions, half the images"] = replace(
    SWD_PORTS["64 patches an image"],
    directions=SWD_PORTS["147 directions"].directions,
    part_of_images=0.5,
)


def average_of(values: Values, levels: slice) -> Values:
    """The same levels, and the mean of some of them."""
    *finest_first, _ = values.values()
    return {**values, "avg": float(np.mean(finest_first[levels]))}


# What a port may do wrong with the right levels.
SWD_SUMMARIES: dict[str, Callable[[Values], Values]] = {
    "only the top four levels": lambda values: average_of(values, slice(4)),
    "low-pass level left out": lambda values: average_of(values, slice(-1)),
    "not times 1000": lambda values: {key: value / 1000 for key, value in values.items()},
}


def consecutive_pairs(count: int) -> Indices:
    """(0, 1), (2, 3), ... as (2, count / 2)."""
    return np.arange(count).reshape(-1, 2).T


def random_pairs(count: int) -> Indices:
    """Each minibatch of 16 and the same shuffled: now and then an image meets itself."""
    batches = np.arange(count).reshape(-1, 16)
    shuffled = np.random.default_rng(SEED).permuted(batches, axis=1)
    return np.stack([batches.ravel(), shuffled.ravel()])


def half_size(x: Floats) -> Floats:
    """2x2 means of (N, C, H, W)."""
    means: Floats = ndimage.uniform_filter(x, (1, 1, 2, 2))[:, :, 1::2, 1::2]
    return means


@dataclass(frozen=True)
class Msssim:
    """MS-SSIM of a set; a wrong port exchanges one of its parts."""

    pairs: Callable[[int], Indices] = consecutive_pairs
    # The 11x11 window is padded with zeros where it does not fit, or everywhere, or must fit.
    window: Literal["shrinks", "padded", "same", "must fit"] = "shrinks"
    weights: tuple[float, ...] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    clipped: bool = True
    average_first: bool = False  # over the pairs, before the powers

    def __call__(self, images: Pixels) -> Values:
        """The mean over the pairs; nan where there is none."""
        return {"msssim": float(self.similarities(images).mean())}

    def similarities(self, images: Pixels) -> Floats:
        """Of each pair."""
        terms = np.array(list(self.terms(images)))
        if self.average_first:
            terms = terms.mean(axis=1, keepdims=True)
        if self.clipped:
            terms = np.maximum(terms, 0)
        with np.errstate(invalid="ignore"):  # powers of negative numbers
            products: Floats = (terms ** np.array(self.weights)[:, None]).prod(axis=0)
        return products

    def terms(self, images: Pixels) -> Iterator[Floats]:
        """The term of each scale, (number of pairs,)."""
        a, b = images[self.pairs(len(images))].astype(np.float64)
        for scale in range(len(self.weights)):
            similarity, contrast = self.similarity(a, b)
            yield similarity if scale == len(self.weights) - 1 else contrast
            a, b = half_size(a), half_size(b)

    def similarity(self, a: Floats, b: Floats) -> Pair:
        """SSIM and contrast of each pair (N, 3, H, W)."""
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        mean_a, mean_b = self.local_mean(a), self.local_mean(b)
        variances = self.local_mean(a * a) - mean_a**2 + self.local_mean(b * b) - mean_b**2
        covariance = self.local_mean(a * b) - mean_a * mean_b
        contrast = (2 * covariance + c2) / (variances + c2)
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))

    def local_mean(self, x: Floats) -> Floats:
        """Under the Gaussian window."""
        fitting = min(11, *x.shape[2:])
        if fitting < 11 and self.window == "must fit":
            return np.full_like(x, np.nan)
        size = fitting if self.window == "shrinks" else 11
        gaussian = np.exp(-(((np.arange(size) - (size - 1) / 2) / (1.5 * size / 11)) ** 2) / 2)
        for axis in (2, 3):
            x = ndimage.correlate1d(x, gaussian / gaussian.sum(), axis=axis, mode="constant")
        if self.window == "same" or size > fitting:
            return x
        height, width = (n - size + 1 for n in x.shape[2:])
        return x[:, :, size // 2 :, size // 2 :][:, :, :height, :width]


_WEIGHTS = Msssim.weights
MSSSIM_PORTS: dict[str, Msssim] = {
    "11 x 11 window must fit": Msssim(window="must fit"),
    "11 x 11 window zero-padded where it does not fit": Msssim(window="padded"),
    "'same' filtering": Msssim(window="same"),
    "weights made to sum to 1": Msssim(weights=tuple(w / sum(_WEIGHTS) for w in _WEIGHTS)),
    "minibatches of 16 with themselves shuffled": Msssim(pairs=random_pairs),
    "no clipping": Msssim(clipped=False),
    "terms averaged over the pairs before the powers": Msssim(average_first=True),
}


def symmetric_root_trace(a: Floats, b: Floats) -> float:
    """tr (S1^½ S2 S1^½)^½ from eigenvalues."""
    eigenvalues, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0)) @ vectors.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum())


def complex_root_trace(a: Floats, b: Floats) -> float:
    """The real part of tr (S1 S2)^½, from the Schur form of an asymmetric matrix."""
    return float(np.trace(linalg.sqrtm(a @ b)).real)


@dataclass(frozen=True)
class Frechet:
    """The Fréchet distance of two sets of features (N, D); a wrong port exchanges a part."""

    ddof: int = 1
    root_trace: Callable[[Floats, Floats], float] = symmetric_root_trace

    def __call__(self, real: Floats, fake: Floats) -> float:
        """|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½."""
        shift = real.mean(axis=0) - fake.mean(axis=0)
        a, b = (np.cov(x, rowvar=False, ddof=self.ddof) for x in (real, fake))
        return float(shift @ shift + np.trace(a + b) - 2 * self.root_trace(a, b))


FRECHET_PORTS = {
    "divisor N": Frechet(ddof=0),
    f"real part of sqrtm, SciPy {scipy.__version__}": Frechet(root_trace=complex_root_trace),
}


def synthetic_features(count: int, num_features: int = 128) -> Pair:
    """Correlated features of reals and fakes, the latter a little shifted and narrower."""
    rng = np.random.default_rng(SEED)
    mixing = rng.standard_normal((num_features, num_features)) / num_features**0.5
    real, fake = rng.standard_normal((2, count, num_features)) @ mixing
    return real, 0.9 * fake + 0.05


def table(what: str, right: Values, ours: Values, ports: Mapping[str, Values]) -> str:
    """Markdown; the right values must be those of pgbench."""
    for key, value in right.items():
        if not abs(value - ours[key]) <= AGREEMENT * abs(value):
            raise SystemExit(f"{what}, {key}: plain is {value!r}, but pgbench {ours[key]!r}.")
    cells = {name: [_cell(found[k], right[k]) for k in right] for name, found in ports.items()}
    rows = [
        [what, *right],
        ["---", *("---:" for _ in right)],
        ["**as defined**", *(f"**{value:#.4g}**" for value in right.values())],
        *([name, *row] for name, row in cells.items()),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: float, right: float) -> str:
    return "no value" if np.isnan(value) else f"{value:#.4g} (× {value / right:#.4g})"


def swd_table(ports: Mapping[str, Swd], count: int, resolution: int) -> str:
    """Of some ports and of the summaries, on so many images of each set."""
    reals, outputs = real_images(count, resolution), fake_outputs(count, resolution)
    ours = swd(reals, to_pixels(outputs), seed=SEED, num_threads=1).values
    right = Swd()(reals, outputs)
    found = {name: port(reals, outputs) for name, port in ports.items()}
    found.update({name: summary(right) for name, summary in SWD_SUMMARIES.items()})
    return table(f"SWD × 1000, {count} + {count} images of {resolution} px", right, ours, found)


def msssim_table(count: int, resolution: int) -> str:
    """Of the fakes."""
    images = to_pixels(fake_outputs(count, resolution))
    ours = msssim(images, num_threads=1)
    found = {name: port(images) for name, port in MSSSIM_PORTS.items()}
    what = f"MS-SSIM, {count} images of {resolution} px, standard error {ours.stderr['msssim']:.2g}"
    return table(what, Msssim()(images), ours.values, found)


def frechet_table() -> str:
    """With more and with fewer images than features."""
    sets = {f"{n} images, 128 features": synthetic_features(n) for n in (512, 64)}
    ours = {key: frechet_distance(*map(statistics, pair)) for key, pair in sets.items()}
    right = {key: Frechet()(*pair) for key, pair in sets.items()}
    found = {
        name: {key: port(*pair) for key, pair in sets.items()}
        for name, port in FRECHET_PORTS.items()
    }
    return table("Fréchet distance", right, ours, found)


def main() -> None:
    """Print the tables."""
    print(swd_table(SWD_PORTS, 128, 64), end="\n\n")
    print(swd_table({}, 32, 256), end="\n\n")  # of five levels
    print(msssim_table(512, 64), end="\n\n")
    print(frechet_table())


if __name__ == "__main__":
    main()
