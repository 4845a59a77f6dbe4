"""Which data sets an experiment takes, and what is said where they are not there."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pgbench import scenes
from pgbench.catalogue import remember
from pgbench.prepare import StoreDraft, build_store
from pgbench.reproductions.experiments import (
    EXPERIMENTS,
    Choice,
    configs_of,
    default_data,
    find_data,
    how_to_get,
)

MakeStore = Callable[..., Path]
ONCE = Choice("all", "smoke", (0,))


@pytest.fixture(autouse=True)
def _fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Makes a store of 8 images that is called as asked, and remembers it."""

    def make(name: str, folder: str = "store", *, mirror: bool = False) -> Path:
        draft = StoreDraft(name, "scenes", "none", resolution=16, num_images=8, mirror=mirror)
        read = partial(scenes.render, 0, resolution=16)
        path = build_store(tmp_path / folder, draft, read=read).path
        remember(path)
        return path

    return make


def test_the_commands_of_all_artefacts():
    assert set(EXPERIMENTS) == {
        *("ablation", "figure4", "cifar10", "celebahq", "lsun", "lsgan", "mnist-modes")
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("ablation", ("portraits", "scenes")), ("figure4", ("portraits",))),
        *(("celebahq", ("portraits",)), ("lsun", ("scenes",)), ("lsgan", ("portraits",))),
    ],
)
@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_built_in_sets_are_there_everywhere(name, data, profile):
    assert default_data(EXPERIMENTS[name], profile=profile) == data


@pytest.mark.parametrize(("name", "store"), [("cifar10", "cifar10"), ("mnist-modes", "mnist-rgb")])
def test_a_store_made_on_this_machine_is_found(name, store, make_store):
    make_store(store, "first")
    last = make_store(store, "second")
    make_store("other", "third")
    assert default_data(EXPERIMENTS[name], profile="desktop") == (str(last),)
    assert find_data(store) == str(last)


def test_smoke_tries_cifar10_on_portraits_where_there_is_no_store(make_store):
    cifar10 = EXPERIMENTS["cifar10"]
    assert default_data(cifar10, profile="smoke") == ("portraits",)
    store = make_store("cifar10")
    assert default_data(cifar10, profile="smoke") == (str(store),)


@pytest.mark.parametrize(
    ("name", "profile", "store"),
    [
        *(("cifar10", "desktop", "cifar10"), ("cifar10", "paper", "cifar10")),
        *(("mnist-modes", "smoke", "mnist-rgb"), ("mnist-modes", "paper", "mnist-rgb")),
    ],
)
def test_a_store_that_is_not_there_is_told_with_its_commands(name, profile, store):
    with pytest.raises(ValueError, match=f"there is no store of {store} on this machine") as error:
        default_data(EXPERIMENTS[name], profile=profile)
    assert str(error.value) == how_to_get(store)
    download = f"pgbench data download {store} --out downloads/{store}"
    prepare = f"pgbench data prepare {store} --from downloads/{store} --out stores/{store}"
    assert str(error.value).endswith(f"make one: {download}, then {prepare}")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("celeba", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"),
        ("celeba-hq", "https://github.com/tkarras/progressive_growing_of_gans"),
        ("lsun-cat", "https://www.yf.io/p/lsun"),
    ],
)
def test_a_set_by_name_that_is_not_there_is_told_with_its_address(name, address):
    with pytest.raises(ValueError, match=f"from {address}, then pgbench data prepare {name} "):
        find_data(name)


def test_anything_else_is_what_it_was(tmp_path, monkeypatch, make_store):
    path = make_store("tiny")
    for data in ("portraits", "scenes", "nope", "folder", str(path)):
        assert find_data(data) == data
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()
    assert find_data("cifar10") == "cifar10"  # the folder that lies here


@pytest.mark.parametrize(
    ("name", "store", "rows"),
    [
        *(("lsun", "lsun-cat", ["cat"]), ("lsun", "mine", ["bedroom"])),
        *(("figure4", "celeba", ["a", "b"]), ("figure4", "celeba-hq", ["fixed", "growing"])),
        *(("lsgan", "mine", ["wgan-gp", "lsgan"]), ("cifar10", "cifar10", ["cifar10", "gamma1"])),
    ],
)
@pytest.mark.parametrize("mirror", [True, False])
def test_all_rows_are_those_of_the_data_set(name, store, rows, mirror, make_store):
    configs = configs_of(EXPERIMENTS[name], ONCE, data=str(make_store(store, mirror=mirror)))
    assert [config.row.removeprefix("cifar10-") for config in configs] == rows
    for config in configs:
        assert (config.data.name, config.data.mirror) == (store, mirror)
        assert config.data.num_images is None


def test_smoke_draws_few_images_and_seeds_come_first():
    both = replace(ONCE, seeds=(2, 1))
    configs = configs_of(EXPERIMENTS["lsgan"], both, data="portraits")
    order = [(config.seed, config.row) for config in configs]
    assert order == [(2, "wgan-gp"), (2, "lsgan"), (1, "wgan-gp"), (1, "lsgan")]
    assert {config.data.num_images for config in configs} == {1024}


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_strange_rows_and_profiles_are_refused(name):
    experiment = EXPERIMENTS[name]
    rows = ", ".join(experiment.rows)
    with pytest.raises(ValueError, match="there is no row 'x'; the rows are ") as error:
        experiment.check(replace(ONCE, row="x"))
    assert str(error.value).endswith(f"{rows} and all")
    with pytest.raises(ValueError, match=r"'huge'; the profiles are smoke, desktop, .*, paper"):
        experiment.check(replace(ONCE, profile="huge"))
