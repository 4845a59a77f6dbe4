"""Released networks, converted, do what a float64 transcription in their own layout does."""

import math
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pgbench.official import load_official

Array = NDArray[np.float64]
Variables = dict[str, Any]

SIZE = {"resolution": 32, "fmap_base": 32, "fmap_max": 6}
MAPS = {2: 6, 4: 6, 8: 6, 16: 4, 32: 2}  # min(64 / resolution, 6)
SIDES = [4, 8, 16, 32]
LATENT = 5
FUSED = {"everywhere": {8, 16, 32}, "from 16": {16, 32}, "nowhere": set[int]()}
SQRT2 = math.sqrt(2)


class Network:
    """Pickled as the released objects are: by the name `tfutil Network`."""

    __module__, __qualname__ = "tfutil", "Network"

    def __init__(self, name: str, kwargs: dict[str, Any], variables: Variables) -> None:
        self.state = {
            "version": 2,
            "name": name,
            "static_kwargs": {"num_channels": 3, "label_size": 0, **SIZE, **kwargs},
            "build_module_src": "raise SystemExit('this source must not run')",
            "build_func_name": "D_paper" if name == "D" else "G_paper",
            "variables": list(variables.items()),
        }

    def __getstate__(self) -> Any:
        return self.state


@pytest.fixture(autouse=True)
def _tfutil(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `tfutil` with the class, for the writer only."""
    module = ModuleType("tfutil")
    module.Network = Network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tfutil", module)


# ---- random networks with the names and layouts of the release ----


def named(shapes: dict[str, tuple[int, ...]], seed: int) -> Variables:
    """float32 weights of these shapes, a bias to each, and lod."""
    rng = np.random.default_rng(seed)
    variables: Variables = {"lod": np.float32(0)}
    for name, shape in shapes.items():
        maps = shape[2] if name.endswith("Conv0_up") else shape[-1]
        maps = MAPS[4] if name == "4x4/Dense" else maps
        variables[f"{name}/weight"] = rng.standard_normal(shape, np.float32)
        variables[f"{name}/bias"] = 0.2 * rng.standard_normal(maps, np.float32)
    return variables


def g_variables(fused: set[int], seed: int = 1) -> Variables:
    shapes: dict[str, tuple[int, ...]] = {
        "4x4/Dense": (LATENT, MAPS[4] * 16),
        "4x4/Conv": (3, 3, MAPS[4], MAPS[4]),
    }
    for side in SIDES[1:]:
        above, maps = MAPS[side // 2], MAPS[side]
        if side in fused:
            shapes[f"{side}x{side}/Conv0_up"] = (3, 3, maps, above)
        else:
            shapes[f"{side}x{side}/Conv0"] = (3, 3, above, maps)
        shapes[f"{side}x{side}/Conv1"] = (3, 3, maps, maps)
    shapes |= {f"ToRGB_lod{3 - k}": (1, 1, MAPS[side], 3) for k, side in enumerate(SIDES)}
    return named(shapes, seed)


def d_variables(fused: set[int], seed: int = 2, extra: int = 1) -> Variables:
    shapes: dict[str, tuple[int, ...]] = {}
    for k, side in enumerate(SIDES):
        shapes[f"FromRGB_lod{3 - k}"] = (1, 1, 3, MAPS[side])
        if side > 4:
            second = "Conv1_down" if side in fused else "Conv1"
            shapes[f"{side}x{side}/Conv0"] = (3, 3, MAPS[side], MAPS[side])
            shapes[f"{side}x{side}/{second}"] = (3, 3, MAPS[side], MAPS[side // 2])
    shapes["4x4/Conv"] = (3, 3, MAPS[4] + extra, MAPS[4])
    shapes["4x4/Dense0"] = (MAPS[4] * 16, MAPS[2])
    shapes["4x4/Dense1"] = (MAPS[2], 1)
    return named(shapes, seed)


def write(
    folder: Path,
    g: Variables,
    d: Variables,
    gs: Variables | None = None,
    *,
    g_kwargs: dict[str, Any] | None = None,
    d_kwargs: dict[str, Any] | None = None,
) -> Path:
    networks = (
        Network("G", g_kwargs or {}, g),
        Network("D", d_kwargs or {}, d),
        Network("Gs", g_kwargs or {}, g if gs is None else gs),
    )
    path = folder / "network.pkl"
    path.write_bytes(pickle.dumps(networks, 2))
    return path


# ---- the released networks in their own layout, float64 ----


def shifted_copies(weight: Array) -> Array:
    """3x3 -> 4x4: the sum of the four copies that are shifted by one pixel or none."""
    padded = np.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]


def conv(x: Array, weight: Array) -> Array:
    """NCHW with HWIO, 'same' padding."""
    pad = weight.shape[0] // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[:2], axis=(2, 3))
    return np.einsum("nihwkl,klio->nohw", windows, weight, optimize=True)


def fused_up(x: Array, weight: Array) -> Array:
    """Transposed convolution of stride 2 with HWOI: every pixel adds its 4x4 kernel."""
    kernel, (count, _, height, width) = shifted_copies(weight), x.shape
    out = np.zeros((count, weight.shape[2], 2 * height + 2, 2 * width + 2))
    for k in range(4):
        for m in range(4):
            places = out[:, :, k : k + 2 * height : 2, m : m + 2 * width : 2]
            places += np.einsum("nihw,oi->nohw", x, kernel[k, m])
    return out[:, :, 1:-1, 1:-1]


def fused_down(x: Array, weight: Array) -> Array:
    """Convolution of stride 2 with the mean of the copies, HWIO."""
    kernel, (_, _, height, width) = shifted_copies(weight) / 4, x.shape
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(
        np.einsum("nihw,io->nohw", x[:, :, k : k + height : 2, m : m + width : 2], kernel[k, m])
        for k in range(4)
        for m in range(4)
    )


def lrelu(x: Array, slope: float = 0.2) -> Array:
    return np.maximum(x, slope * x)


def pixelnorm(x: Array) -> Array:
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)


def enlarged(x: Array) -> Array:
    return x.repeat(2, axis=2).repeat(2, axis=3)


def averaged(x: Array) -> Array:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


class Released:
    """A network of the release: its variables, its arguments and its layers."""

    def __init__(self, variables: Variables, kwargs: dict[str, Any] | None = None) -> None:
        self.variables = {name: np.asarray(each, float) for name, each in variables.items()}
        self.kwargs = kwargs or {}

    def weight(self, name: str, gain: float = SQRT2) -> Array:
        """With its run-time factor: gain / sqrt(inputs)."""
        weight = self.variables[f"{name}/weight"]
        height_width = math.prod(weight.shape[:-2])
        inputs = height_width * weight.shape[-1 if name.endswith("Conv0_up") else -2]
        return (
            weight * (gain / math.sqrt(inputs)) if self.kwargs.get("use_wscale", True) else weight
        )

    def biased(self, x: Array, name: str) -> Array:
        bias = self.variables[f"{name}/bias"]
        return x + (bias[:, None, None] if x.ndim == 4 else bias)

    def g_layer(self, x: Array, name: str) -> Array:
        slope = 0.2 if self.kwargs.get("use_leakyrelu", True) else 0.0
        x = lrelu(self.biased(x, name), slope)
        return pixelnorm(x) if self.kwargs.get("use_pixelnorm", True) else x

    def to_rgb(self, x: Array, lod: int) -> Array:
        name = f"ToRGB_lod{lod}"
        return self.biased(conv(x, self.weight(name, 1)), name)

    def generate(self, z: Array, lod: float) -> Array:
        z = pixelnorm(z) if self.kwargs.get("normalize_latents", True) else z
        x = (z @ self.weight("4x4/Dense", SQRT2 / 4)).reshape(-1, MAPS[4], 4, 4)
        x = self.g_layer(x, "4x4/Dense")
        x = self.g_layer(conv(x, self.weight("4x4/Conv")), "4x4/Conv")
        image = self.to_rgb(x, 3)
        for at in range(2, math.floor(lod) - 1, -1):
            block = f"{32 >> at}x{32 >> at}"
            if f"{block}/Conv0_up/weight" in self.variables:
                name = f"{block}/Conv0_up"
                x = self.g_layer(fused_up(x, self.weight(name)), name)
            else:
                x = self.g_layer(conv(enlarged(x), self.weight(f"{block}/Conv0")), f"{block}/Conv0")
            x = self.g_layer(conv(x, self.weight(f"{block}/Conv1")), f"{block}/Conv1")
            lower, image = enlarged(image), self.to_rgb(x, at)
            if at < lod:
                image = image + (lower - image) * (lod - at)
        return np.tanh(image) if self.kwargs.get("tanh_at_end") else image

    def from_rgb(self, image: Array, lod: int) -> Array:
        name = f"FromRGB_lod{lod}"
        return lrelu(self.biased(conv(image, self.weight(name)), name))

    def judge(self, image: Array, lod: float) -> Array:
        first = math.floor(lod)
        x = self.from_rgb(image, first)
        for at in range(first, 3):
            block = f"{32 >> at}x{32 >> at}"
            name = f"{block}/Conv0"
            x = lrelu(self.biased(conv(x, self.weight(name)), name))
            if f"{block}/Conv1_down/weight" in self.variables:
                name = f"{block}/Conv1_down"
                x = lrelu(self.biased(fused_down(x, self.weight(name)), name))
            else:
                name = f"{block}/Conv1"
                x = averaged(lrelu(self.biased(conv(x, self.weight(name)), name)))
            image = averaged(image)
            if at < lod:
                x = x + (self.from_rgb(image, at + 1) - x) * (lod - at)
        if self.kwargs.get("mbstd_group_size", 4) > 1:
            x = np.concatenate([x, self.deviation(x)], axis=1)
        x = lrelu(self.biased(conv(x, self.weight("4x4/Conv")), "4x4/Conv"))
        x = x.reshape(len(x), -1) @ self.weight("4x4/Dense0")
        x = lrelu(self.biased(x, "4x4/Dense0"))
        return self.biased(x @ self.weight("4x4/Dense1", 1), "4x4/Dense1")[:, 0]

    def deviation(self, x: Array) -> Array:
        """One map of the mean deviation in groups of 4, image i in group i mod (N / 4)."""
        groups = len(x) // min(self.kwargs.get("mbstd_group_size", 4), len(x))
        maps = np.empty((len(x), 1, 4, 4))
        for group in range(groups):
            maps[group::groups] = np.sqrt(x[group::groups].var(axis=0) + 1e-8).mean()
        return maps


def normal(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape)


def test_a_fused_layer_that_enlarges_is_a_turned_kernel() -> None:
    x, weight = normal(2, 3, 5, 7), normal(3, 3, 4, 3)
    turned = weight[::-1, ::-1].swapaxes(2, 3)
    np.testing.assert_allclose(fused_up(x, weight), conv(enlarged(x), turned), rtol=0, atol=1e-13)


def test_a_fused_layer_that_reduces_is_a_mean_before_the_activation() -> None:
    x, weight = normal(2, 3, 6, 8), normal(3, 3, 3, 4)
    averaged_after = averaged(conv(x, weight))
    np.testing.assert_allclose(fused_down(x, weight), averaged_after, rtol=0, atol=1e-13)


LODS = [0.0, 0.3, 1.0, 1.75, 2.5, 3.0]
every_fusing = pytest.mark.parametrize("fused", FUSED.values(), ids=FUSED)


class TestConversion:
    @pytest.mark.parametrize("lod", LODS)
    @every_fusing
    def test_generators(self, fused: set[int], lod: float, tmp_path: Path) -> None:
        g, gs = g_variables(fused), g_variables(fused, seed=3)
        G, _, G_ema = load_official(write(tmp_path, g, d_variables(fused), gs))
        z = normal(3, LATENT)
        for network, variables in ((G, g), (G_ema, gs)):
            images = network.double()(torch.from_numpy(z), lod).detach().numpy()
            expected = Released(variables).generate(z, lod)
            assert images.shape == expected.shape
            np.testing.assert_allclose(images, expected, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize("count", [3, 4, 8])
    @pytest.mark.parametrize("lod", LODS)
    @every_fusing
    def test_discriminator(self, fused: set[int], lod: float, count: int, tmp_path: Path) -> None:
        d, side = d_variables(fused), 32 >> math.floor(lod)
        _, D, _ = load_official(write(tmp_path, g_variables(fused), d))
        image = normal(count, 3, side, side)
        scores = D.double()(torch.from_numpy(image), lod).detach().numpy()
        np.testing.assert_allclose(scores, Released(d).judge(image, lod), rtol=1e-9, atol=1e-11)

    def test_in_float32(self, tmp_path: Path) -> None:
        g, d = g_variables(FUSED["from 16"]), d_variables(FUSED["from 16"])
        G, D, _ = load_official(str(write(tmp_path, g, d)))
        z = normal(4, LATENT)
        with torch.no_grad():
            images = G(torch.from_numpy(z).float())
            scores = D(images)
        expected = Released(g).generate(z, 0)
        np.testing.assert_allclose(images, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(scores, Released(d).judge(expected, 0), rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"use_wscale": False},
            {"use_pixelnorm": False},
            {"use_leakyrelu": False},
            {"normalize_latents": False},
            {"tanh_at_end": True},
            {"latent_size": LATENT, "fused_scale": True, "structure": "linear"},
        ],
    )
    def test_arguments_of_g(self, kwargs: dict[str, Any], tmp_path: Path) -> None:
        g = g_variables(FUSED["everywhere"])
        path = write(tmp_path, g, d_variables(FUSED["everywhere"]), g_kwargs=kwargs)
        images = load_official(path)[0].double()(torch.from_numpy(normal(2, LATENT)), 0.3)
        expected = Released(g, kwargs).generate(normal(2, LATENT), 0.3)
        np.testing.assert_allclose(images.detach(), expected, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize(
        "kwargs", [{"use_wscale": False}, {"mbstd_group_size": 2}, {"mbstd_group_size": 1}]
    )
    def test_arguments_of_d(self, kwargs: dict[str, Any], tmp_path: Path) -> None:
        extra = 0 if kwargs.get("mbstd_group_size") == 1 else 1
        d = d_variables(FUSED["everywhere"], extra=extra)
        path = write(tmp_path, g_variables(FUSED["everywhere"]), d, d_kwargs=kwargs)
        scores = load_official(path)[1].double()(torch.from_numpy(normal(8, 3, 32, 32)))
        expected = Released(d, kwargs).judge(normal(8, 3, 32, 32), 0)
        np.testing.assert_allclose(scores.detach(), expected, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize(
        ("fused", "lowest"), [("everywhere", 8), ("from 16", 16), ("nowhere", None)]
    )
    def test_configurations(self, fused: str, lowest: int | None, tmp_path: Path) -> None:
        path = write(tmp_path, g_variables(FUSED[fused]), d_variables(FUSED[fused]))
        G, D, G_ema = load_official(path)
        assert (D.config.stddev_group, D.config.fused_from) == (4, lowest)
        assert G.config == G_ema.config
        assert G.config.latent_size == LATENT

    def test_who_can_be_trained(self, tmp_path: Path) -> None:
        networks = load_official(write(tmp_path, g_variables({8}), d_variables(set())))
        trainable = [all(p.requires_grad for p in network.parameters()) for network in networks]
        assert trainable == [True, True, False]


def without(variables: Variables, name: str) -> Variables:
    return {key: value for key, value in variables.items() if key != name}


class TestRefusals:
    def refused(self, path: Path, why: str) -> None:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011
            load_official(path)
        said = str(refusal.value)
        assert said.startswith(f"{path} cannot be converted: ")
        assert why in said
        assert "\n" not in said

    @pytest.mark.parametrize(
        ("kwargs", "why"),
        [
            ({"label_size": 10}, "network G was built with label_size=10; only 0 is known"),
            ({"num_channels": 1}, "network G was built with num_channels=1; only 3 is known"),
            ({"fmap_decay": 0.5}, "with fmap_decay=0.5; only 1.0 is known"),
            ({"pixelnorm_epsilon": 1e-4}, "with pixelnorm_epsilon=0.0001; only 1e-08 is known"),
            ({"dtype": "float16"}, "with dtype='float16'; only float32 is known"),
            ({"truncation": 0.7}, "with truncation=0.7; it is not known"),
            ({"resolution": None}, "network G does not say its resolution"),
            ({"resolution": 48}, "with resolution=48: Value error, resolution 48 is no power"),
            ({"resolution": 64}, "network G has no variable 64x64/Conv0/weight"),
            ({"resolution": 16}, "network G has "),
            ({"fmap_base": 64}, "network G has 16x16/Conv0/weight of float32 (3, 3, 6, 4)"),
            ({"fmap_base": 10**12, "fmap_max": 10**12}, "4x4/Dense/weight of float32 (5, 96) inst"),
            ({"fmap_base": 0}, "network G was built with fmap_base=0: "),
            ({"latent_size": 4}, "4x4/Dense/weight of float32 (5, 96) instead of floating point"),
            ({"use_pixelnorm": "perhaps"}, "network G was built with pixelnorm='perhaps': "),
        ],
    )
    def test_arguments(self, kwargs: dict[str, Any], why: str, tmp_path: Path) -> None:
        path = write(tmp_path, g_variables(set()), d_variables(set()), g_kwargs=kwargs)
        self.refused(path, why)

    def test_arguments_of_d(self, tmp_path: Path) -> None:
        for kwargs, why in (
            ({"label_size": 1}, "network D was built with label_size=1; only 0 is known"),
            ({"use_pixelnorm": True}, "network D was built with use_pixelnorm=True; it is not"),
            ({"mbstd_group_size": 1.5}, "network D was built with stddev_group=1.5: "),
            ({"resolution": 16}, "network D has "),
        ):
            path = write(tmp_path, g_variables(set()), d_variables(set()), d_kwargs=kwargs)
            self.refused(path, why)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"4x4/Conv/bias": None}, "network G has no variable 4x4/Conv/bias"),
            ({"4x4/Dense/weight": None}, "network G has no variable 4x4/Dense/weight"),
            ({"8x8/Conv2/weight": np.zeros(1)}, "has a variable 8x8/Conv2/weight that ours lacks"),
            ({"4x4/Conv/bias": np.zeros(7)}, "4x4/Conv/bias of float64 (7,) instead of floating"),
            ({"4x4/Conv/bias": np.zeros(6, int)}, "4x4/Conv/bias of int64 (6,) instead of float"),
            ({"4x4/Conv/bias": np.full(6, np.nan)}, "4x4/Conv/bias with values that are not fin"),
            ({"4x4/Conv/bias": np.full(6, 1e39)}, "4x4/Conv/bias with values that are not fin"),
            ({"lod": None}, "network G has lod none; it must be 0 to 3"),
            ({"lod": np.float32(3.5)}, "network G has lod 3.5; it must be 0 to 3"),
            ({"lod": np.float32(-0.5)}, "network G has lod -0.5; it must be 0 to 3"),
            ({"lod": np.float32(np.nan)}, "network G has lod nan; it must be 0 to 3"),
            ({"lod": np.zeros(2)}, "network G has lod none; it must be 0 to 3"),
        ],
    )
    def test_variables(self, changes: Variables, why: str, tmp_path: Path) -> None:
        g = g_variables(set())
        for name, value in changes.items():
            g = without(g, name) | ({} if value is None else {name: value})
        self.refused(write(tmp_path, g, d_variables(set())), why)

    def test_both_kinds_of_a_layer(self, tmp_path: Path) -> None:
        g = g_variables(set()) | g_variables({8})
        self.refused(write(tmp_path, g, d_variables(set())), "8x8/Conv0/bias that ours lacks")

    def test_fused_below_unfused(self, tmp_path: Path) -> None:
        path = write(tmp_path, g_variables(set()), d_variables({8}))
        self.refused(path, "network D fuses the layers of [8] of [8, 16, 32]; only those from")

    def test_networks_that_do_not_fit(self, tmp_path: Path) -> None:
        small = {"lod": np.float32(0)} | {
            name: value
            for name, value in g_variables(set()).items()
            if not name.startswith(("32x32", "ToRGB_lod0"))
        }
        for lod in range(3):
            for kind in ("weight", "bias"):
                small[f"ToRGB_lod{lod}/{kind}"] = small.pop(f"ToRGB_lod{lod + 1}/{kind}")
        path = write(tmp_path, small, d_variables(set()), g_kwargs={"resolution": 16})
        self.refused(path, "its G, D and Gs, of resolutions [16, 32, 16], do not fit together")
