"""A released network, imported, is a snapshot as any other, and what training goes on from."""

import hashlib
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pgbench.checkpoint import load_snapshot
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore, Sampler
from pgbench.official import (
    OfficialNetworks,
    beside,
    continue_from,
    load_official,
    read_official,
    save_official,
)
from pgbench.results import RunFolder
from pgbench.sampling import generate
from pgbench.training import Trainer

Command = Callable[..., Any]
CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent
SIZE = {"resolution": 16, "fmap_base": 32, "fmap_max": 6}  # maps 6, 6, 6, 4 at 2, 4, 8, 16
G_SHAPES = {  # fused layers
    "4x4/Dense": (5, 96),
    "4x4/Conv": (3, 3, 6, 6),
    "8x8/Conv0_up": (3, 3, 6, 6),
    "8x8/Conv1": (3, 3, 6, 6),
    "16x16/Conv0_up": (3, 3, 4, 6),
    "16x16/Conv1": (3, 3, 4, 4),
    **{f"ToRGB_lod{lod}": (1, 1, maps, 3) for lod, maps in enumerate((4, 6, 6))},
}
D_SHAPES = {
    **{f"FromRGB_lod{lod}": (1, 1, 3, maps) for lod, maps in enumerate((4, 6, 6))},
    "16x16/Conv0": (3, 3, 4, 4),
    "16x16/Conv1_down": (3, 3, 4, 6),
    "8x8/Conv0": (3, 3, 6, 6),
    "8x8/Conv1_down": (3, 3, 6, 6),
    "4x4/Conv": (3, 3, 7, 6),
    "4x4/Dense0": (96, 6),
    "4x4/Dense1": (6, 1),
}
BIASES = {"4x4/Dense": 6, "16x16/Conv0_up": 4}  # else as many as the last axis


class Network:
    """Pickled as the released objects are: by the name `tfutil Network`."""

    __module__, __qualname__ = "tfutil", "Network"

    def __init__(self, name: str, shapes: dict[str, tuple[int, ...]], *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        variables: list[tuple[str, Any]] = [("lod", np.float32(1))]
        for layer, shape in shapes.items():
            maps = BIASES.get(layer, shape[-1])
            variables.append((f"{layer}/weight", rng.standard_normal(shape, np.float32)))
            variables.append((f"{layer}/bias", 0.2 * rng.standard_normal(maps, np.float32)))
        self.state = {
            "version": 2,
            "name": name,
            "static_kwargs": {"num_channels": 3, "label_size": 0, **SIZE},
            "build_module_src": "raise SystemExit('this source must not run')",
            "build_func_name": name,
            "variables": variables,
        }

    def __getstate__(self) -> Any:
        return self.state


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pickle of three random networks at lod 1."""
    module = ModuleType("tfutil")
    module.Network = Network  # type: ignore[attr-defined]
    networks = (
        Network("G", G_SHAPES, seed=1),
        Network("D", D_SHAPES, seed=2),
        Network("Gs", G_SHAPES, seed=3),
    )
    path = tmp_path / "network.pkl"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tfutil", module)
        path.write_bytes(pickle.dumps(networks, 2))
    return path


@pytest.fixture
def networks(official: Path) -> OfficialNetworks:
    return read_official(official)


@pytest.fixture
def imported(networks: OfficialNetworks, tmp_path: Path) -> Path:
    """The snapshot, in a folder of its own."""
    snapshot = tmp_path / "made" / "net.safetensors"
    made = save_official(networks, snapshot)
    assert made == [snapshot, beside(snapshot, "G"), beside(snapshot, "D")]
    return snapshot


def same(one: nn.Module, two: nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestSnapshots:
    def test_g_ema_and_g(self, imported: Path, networks: OfficialNetworks) -> None:
        assert not same(networks.G, networks.G_ema)
        for path, network in ((imported, networks.G_ema), (beside(imported, "G"), networks.G)):
            generator, info = load_snapshot(path, CPU)
            assert generator.config == network.config
            assert same(generator, network)
            assert info.lod == 1

    def test_the_source_is_recorded(self, imported: Path, official: Path) -> None:
        sha256 = hashlib.sha256(official.read_bytes()).hexdigest()
        for path in (imported, beside(imported, "G"), beside(imported, "D")):
            with safe_open(path, framework="pt") as file:
                assert json.loads(file.metadata()["pgbench"])["source"] == sha256

    def test_another_suffix(self, networks: OfficialNetworks, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"net\.pt does not end in \.safetensors"):
            save_official(networks, tmp_path / "net.pt")


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig], networks: OfficialNetworks) -> RunConfig:
    """A run at full resolution with the imported networks' shapes."""
    return tiny_config(
        generator=networks.G.config.model_dump(),
        discriminator=networks.D.config.model_dump(),
        schedule={"growing": False},
    )


def trainer_of(config: RunConfig, store: ImageStore) -> Trainer:
    return Trainer(config, Sampler(store, num_images=None, mirror=True, seed=0), CPU)


class TestContinuing:
    def test_goes_on_from_the_weights(
        self, imported: Path, official: Path, config: RunConfig, tiny_store: ImageStore
    ) -> None:
        trainer = trainer_of(config, tiny_store)
        continue_from(trainer, imported)
        expected = load_official(official)
        networks = (trainer.G, trainer.D, trainer.G_ema)
        assert all(map(same, networks, expected))
        images, before = (list(generate(g, range(8), lod=0)) for g in (networks[2], expected[2]))
        np.testing.assert_array_equal(images, before)
        for _ in range(3):
            trainer.step()
        trainer.check_weights()
        assert trainer.nimg == 3 * config.schedule.minibatch
        assert not any(map(same, networks, expected))

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"generator": {"latent_size": 6}}, "generator has latent_size 6 and the imported"),
            ({"generator": {"fmap_max": 5}}, "generator has fmap_max 5 and the imported network 6"),
            ({"discriminator": {"stddev_group": None}}, "discriminator has stddev_group None and"),
            ({"discriminator": {"fused_from": None}}, "discriminator has fused_from None and the"),
            ({"schedule": {"growing": True}}, "would grow from 4x4 again; give it growing False"),
        ],
    )
    def test_other_configurations(
        self,
        changes: dict[str, Any],
        why: str,
        imported: Path,
        config: RunConfig,
        tiny_store: ImageStore,
    ) -> None:
        trainer = trainer_of(replace(config, **changes), tiny_store)
        before = [weight.clone() for weight in trainer.G.parameters()]
        with pytest.raises(ValueError, match=why):
            continue_from(trainer, imported)
        assert all(torch.equal(a, b) for a, b in zip(before, trainer.G.parameters(), strict=True))

    def test_files_of_two_imports(
        self, imported: Path, config: RunConfig, tiny_store: ImageStore
    ) -> None:
        path = beside(imported, "D")
        with safe_open(path, framework="pt") as file:
            info = json.loads(file.metadata()["pgbench"]) | {"source": "other"}
        save_file(load_file(path), path, metadata={"pgbench": json.dumps(info)})
        with pytest.raises(ValueError, match="are not of one import; import again"):
            continue_from(trainer_of(config, tiny_store), imported)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
    def test_no_discriminator(
        self, content: bytes | None, imported: Path, config: RunConfig, tiny_store: ImageStore
    ) -> None:
        beside(imported, "D").write_bytes(imported.read_bytes() if content is None else content)
        with pytest.raises(ValueError, match=r"net-D\.safetensors is no imported discriminator"):
            continue_from(trainer_of(config, tiny_store), imported)


def test_the_code_of_the_page_runs(
    imported: Path, tiny_store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stores").mkdir()
    Path("stores/celeba-hq").symlink_to(tiny_store.path)
    for path in (imported, beside(imported, "G"), beside(imported, "D")):
        path.rename(path.name.replace("net", "network"))
    page = (ROOT / "docs" / "official.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    short = code.replace('"total_kimg": 100.0', '"total_kimg": 0.064')
    assert short != code
    for _ in range(2):  # the second time nothing is left to do
        exec(compile(short, "docs/official.md", "exec"), {})
        (run,) = Path("results").iterdir()
        status = RunFolder.at(run).read_status()
        assert status is not None
        assert status.kimg == 0.064


class TestCommand:
    def test_import_then_generate(
        self, imported: Path, networks: OfficialNetworks, pgbench: Command, tmp_path: Path
    ) -> None:
        out = tmp_path / "by" / "command.safetensors"
        done = pgbench("import-official", tmp_path / "network.pkl", "--out", out)
        assert done.code == 0
        assert done.out.split() == [str(out), str(beside(out, "G")), str(beside(out, "D"))]
        assert out.read_bytes() == imported.read_bytes()
        assert pgbench("generate", out, "--seeds", "0-2", "--out", tmp_path / "png").code == 0
        expected = np.concatenate(list(generate(networks.G_ema, range(3), lod=1)))
        pictures = sorted((tmp_path / "png").glob("*.png"))
        for path, image in zip(pictures, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(path)).transpose(2, 0, 1), image)

    def test_errors_are_one_line(self, official: Path, pgbench: Command, tmp_path: Path) -> None:
        path = tmp_path / "other.pkl"
        path.write_bytes(pickle.dumps(print, 0))
        for source, out, why in (
            (path, "a.safetensors", "it asks for __builtin__.print, which is never run; give a"),
            (tmp_path / "nope.pkl", "a.safetensors", "there is no file "),
            (official, "a.pt", "does not end in .safetensors"),
        ):
            done = pgbench("import-official", source, "--out", tmp_path / out)
            assert (done.code, done.out) == (2, "")
            assert done.err.startswith("Error: ")
            assert why in done.err
            assert done.err.count("\n") == 1
            assert not (tmp_path / out).exists()
