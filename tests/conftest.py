"""One thread, no cache of the user's, seeded weights, and a tiny world: a store and a run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: tests run beside other work

import pytest
import torch

from pgbench import scenes
from pgbench.cli import main
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore
from pgbench.prepare import StoreDraft, build_store
from pgbench.reproductions.launch import run as launch
from pgbench.reproductions.table1 import ROWS

torch.set_num_threads(1)

TinyConfig = Callable[..., RunConfig]
Command = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, 0 when it just returned, and both streams."""

    code: object
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """A run of the tiny configuration that went straight to its end."""

    config: RunConfig
    store: ImageStore
    out: Path

    @property
    def run(self) -> Path:
        return self.out / self.config.run_id


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu`, `browser` or `latex` need what they name, and `network` is for CI."""
    lacking = {
        "gpu": None if torch.cuda.is_available() else "there is no CUDA device",
        "latex": None if os.environ.get("CI") or shutil.which("pdflatex") else "no pdflatex here",
        "browser": None if shutil.which("chromium") else "there is no chromium",
        "network": None if os.environ.get("CI") else "set CI=true to run what needs the internet",
    }
    for item in items:
        for marker, reason in lacking.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """192 images of 16x16 and their levels."""
    draft = StoreDraft("tiny", "scenes", "none", resolution=16, num_images=192, mirror=True)
    read = partial(scenes.render, 0, resolution=16)
    return build_store(tmp_path_factory.mktemp("stores") / "tiny", draft, read=read)


@pytest.fixture(scope="session")
def tiny_config() -> TinyConfig:
    """A row of table 1 on the tiny store: 4x4 to 16x16 in 352 images, a tick every 64."""

    def make(row: str = "g", **changes: object) -> RunConfig:
        network = {"resolution": 16, "fmap_base": 32, "fmap_max": 8}
        kimg = {"train_kimg": 0.064, "fade_kimg": 0.064, "total_kimg": 0.352, "tick_kimg": 0.064}
        tiny = replace(
            ROWS[row],
            profile="tiny",
            data={"name": "tiny", "resolution": 16},
            generator=network,
            discriminator=network,
            schedule=kimg | {"minibatch": 16, "snapshot_ticks": 2},
            evaluation={"snapshot": ("swd64", "msssim16"), "final": ("swd128",)},
        )
        return replace(tiny, **changes)

    return make


@pytest.fixture(scope="session")
def finished(
    tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> World:
    """A finished run of row g; not to be changed."""
    world = World(tiny_config(), tiny_store, tmp_path_factory.mktemp("finished"))
    status = launch(world.config, data=str(tiny_store.path), out=world.out, device="cpu")
    assert status.status == "done"
    return world


@pytest.fixture
def copied(finished: World, tmp_path: Path) -> World:
    """A copy of the finished run, to change."""
    shutil.copytree(finished.out, tmp_path / "results")
    return World(finished.config, finished.store, tmp_path / "results")


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for torch-fidelity's Inception that need no download: random ones.

    Their scale keeps activations alive through all layers.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            pass

    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "none.pth")
    with torch.random.fork_rng(devices=[]):
        network = Unloaded(
            "inception", ["2048"], feature_extractor_weights_path=str(folder / "none.pth")
        )
    rng = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for value in state.values():
        if value.ndim >= 2:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=rng)
    state["fc.weight"] *= 100  # answers that differ from image to image
    state["fc.bias"].normal_(0, 1, generator=rng)
    torch.save(dict(state), folder / "seeded.pth")
    return folder / "seeded.pth"


@pytest.fixture
def pgbench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Call the command line in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pgbench", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        streams = capfd.readouterr()
        return Outcome(code, streams.out, streams.err)

    return call


@pytest.fixture
def program() -> Command:
    """Run Python text in a process of its own, with what it may print and its arguments."""

    def call(text: str, *arguments: object) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-c", text, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call
