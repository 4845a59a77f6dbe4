"""Configurations compared, and the command line on a tiny profile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgbench.config import RunConfig
from pgbench.data import ImageStore
from pgbench.networks import Discriminator, Generator
from pgbench.reproductions import table1
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder

SMALL: dict[str, Any] = {"resolution": 16, "fmap_base": 32, "fmap_max": 8, "phase_kimg": 0.064}
SMALL |= {"total_kimg": 0.352, "tick_kimg": 0.064, "snapshot_ticks": 2, "num_images": None}
SMALL |= {"snapshot_metrics": ("swd64", "msssim16"), "final_metrics": ("swd128",)}


def _dotted(config: RunConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in config.to_json().items():
        nested = value.items() if isinstance(value, dict) else []
        fields |= {f"{name}.{field}": each for field, each in nested} or {name: value}
    return fields


@pytest.fixture(scope="session")
def dotted() -> Callable[[RunConfig], dict[str, Any]]:
    """{"part.field": value} of a configuration."""
    return _dotted


@pytest.fixture(scope="session")
def differences() -> Callable[[RunConfig, RunConfig], set[str]]:
    """The fields in which two configurations differ."""

    def differ(one: RunConfig, other: RunConfig) -> set[str]:
        first, second = _dotted(one), _dotted(other)
        assert first.keys() == second.keys()
        return {name for name in first if first[name] != second[name]}

    return differ


@pytest.fixture(scope="session")
def parameters() -> Callable[[RunConfig], tuple[int, int]]:
    """Trainable parameters of G and D, of toRGB and fromRGB only those of full resolution."""

    def count(config: RunConfig) -> tuple[int, int]:
        g, d = Generator(config.generator), Discriminator(config.discriminator)
        unused = [
            sum(p.numel() for layer in list(rgb)[:-1] for p in layer.parameters())
            for rgb in (g.to_rgb, d.from_rgb)
        ]
        every = [sum(p.numel() for p in network.parameters()) for network in (g, d)]
        return every[0] - unused[0], every[1] - unused[1]

    return count


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """What the tiny profile changes in smoke."""
    return SMALL


@pytest.fixture(autouse=True)
def _tiny_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table1.SCALES, "tiny", replace(table1.SCALES["smoke"], **SMALL))


@pytest.fixture(scope="session")
def command(tiny_store: ImageStore) -> Callable[[Path], list[str]]:
    """The arguments that run row g of the tiny profile into a folder."""
    fixed = ["run", "ablation", "--row", "g", "--profile", "tiny", "--device", "cpu"]
    return lambda out: [*fixed, "--data", str(tiny_store.path), "--out", str(out)]


@pytest.fixture(scope="session")
def straight(tiny_store: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """What the command leaves when nothing happens; not to be changed."""
    out, data = tmp_path_factory.mktemp("straight"), str(tiny_store.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table1.SCALES, "tiny", replace(table1.SCALES["smoke"], **SMALL))
        config = table1.row_config(
            "g", profile="tiny", dataset="tiny", mirror=True, num_images=None, seed=0
        )
    assert launch(config, data=data, out=out, device="cpu").status == "done"
    return RunFolder.at(out / config.run_id)
