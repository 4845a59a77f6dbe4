"""Table 4 from IDX files to the report, on digits that are drawn here."""

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench.config import RunConfig
from pgbench.data import ImageStore
from pgbench.pictures_mnist import mnist_rgb_store, open_digits
from pgbench.results import RunFolder

Command = Callable[..., Any]
ROWS = [
    f"{size} {c}" for size in ("K/4", "K/2") for c in ("wgan-gp", "norm", "stddev", "progression")
]


def idx(array: NDArray[np.uint8]) -> bytes:
    known = {3: 0x803, 1: 0x801}[array.ndim]
    return struct.pack(f">{1 + array.ndim}I", known, *array.shape) + array.tobytes()


def write_digits(folder: Path, *, test: bool = True) -> Path:
    """MNIST's files with ten kinds of bars instead of digits."""
    folder.mkdir(parents=True)
    for part, count in {"train": 100, "t10k": 30}.items():
        rng = np.random.default_rng(count)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 30, (count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] = 255
        if part == "train" or test:
            (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits") / "idx")


@pytest.fixture(scope="module")
def store(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return mnist_rgb_store(idx_folder, tmp_path_factory.mktemp("stores") / "rgb", num_images=2000)


class TestDigits:
    def test_of_a_store_are_those_of_the_files(self, idx_folder: Path, store: ImageStore) -> None:
        one, same = open_digits(idx_folder), open_digits(store.path)
        assert one.fingerprint() == same.fingerprint()
        assert (one.images.shape, one.test_images.shape) == ((100, 32, 32), (30, 32, 32))

    def test_labels_are_those_of_the_modes(self, store: ImageStore) -> None:
        labels, index = open_digits(store.path).labels, np.load(store.path / "index.npy")
        modes = labels[index].astype(int) @ [100, 10, 1]
        assert np.array_equal(modes, np.load(store.path / "labels.npy"))

    def test_a_store_without_test_digits(self, tmp_path: Path) -> None:
        folder = write_digits(tmp_path / "idx", test=False)
        path = mnist_rgb_store(folder, tmp_path / "rgb", num_images=20).path
        with pytest.raises(ValueError, match=r"lacks MNIST's test digits .* t10k-images and t10k"):
            open_digits(path)

    def test_a_damaged_store(self, idx_folder: Path, tmp_path: Path) -> None:
        path = mnist_rgb_store(idx_folder, tmp_path / "rgb", num_images=20).path
        (path / "test-digits.npy").write_bytes(b"no array")
        with pytest.raises(ValueError, match="prepare it again"):
            open_digits(path)

    def test_another_store(self, tiny_store: ImageStore) -> None:
        with pytest.raises(ValueError, match="is no store of mnist-rgb"):
            open_digits(tiny_store.path)


def run(pgbench: Command, store: Path, out: Path, *arguments: object) -> Any:
    fixed = ("run", "mnist-modes", "--profile", "smoke", "--device", "cpu")
    return pgbench(*fixed, "--data", store, "--out", out, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_row_from_pixels_to_the_report(
    row: str, store: ImageStore, pgbench: Command, tmp_path: Path
) -> None:
    done = run(pgbench, store.path, tmp_path / "results", "--row", row)
    assert done.code == 0, done.err
    plain = row.replace("/", "").replace(" ", "-")
    (path,) = (tmp_path / "results").glob(f"table4-{plain}-mnist-rgb-smoke-s0-*")
    folder = RunFolder.at(path)
    status, config = folder.read_status(), RunConfig.model_validate(folder.config())
    assert status is not None
    assert (status.status, status.kimg >= config.schedule.total_kimg) == ("done", True)
    records, problems = folder.records()
    assert problems == []
    last = [r for r in records if r.metric == "modes64"]
    assert [r.key for r in last] == ["modes", "modes_std", "kl", "kl_std"]
    for record in last:
        assert (record.artefact, record.row, record.num_images) == ("table4", row, 640)
        protocol = record.protocol
        assert (protocol["sets"], protocol["set_size"]) == (10, 64)
        assert protocol["classifier_test_digits"] == 30
        assert 0 <= protocol["classifier_test_error"] <= 1
    (table,) = (tmp_path / "results" / "report").rglob("table4-mnist-rgb-smoke-32.csv")
    with table.open() as file:
        lines = {(line["row"], line["key"]): line for line in csv.DictReader(file)}
    for record in last[::2]:
        line = lines[row, record.key]
        assert float(line["ours_mean"]) == pytest.approx(record.value, rel=1e-9)
        assert line["metric"] == "modes64"


@pytest.mark.slow
def test_the_command_measures_what_the_run_recorded(
    store: ImageStore, idx_folder: Path, pgbench: Command, tmp_path: Path
) -> None:
    reals = store.level(32)[np.arange(128)]
    np.save(tmp_path / "fakes.npy", reals)
    asked = ("metrics", "modes", tmp_path / "fakes.npy", "--set-size", 64, "--json")
    from_store = pgbench(*asked, "--data", store.path)
    from_files = pgbench(*asked, "--data", idx_folder)
    assert (from_store.code, from_store.err) == (0, "")
    found, same = json.loads(from_store.out), json.loads(from_files.out)
    assert found["values"] == same["values"]
    assert found["protocol"] == same["protocol"]
    assert (found["metric"], found["num_images"], found["protocol"]["sets"]) == ("modes", 128, 2)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--row", "K/8 norm"), "there is no row 'K/8 norm'"),
        (("--profile", "huge"), "there is no profile 'huge'"),
        (("--data", "nowhere"), "there is no data set 'nowhere'"),
    ],
)
def test_bad_calls(
    arguments: tuple[str, ...], why: str, store: ImageStore, pgbench: Command, tmp_path: Path
) -> None:
    fixed = ("run", "mnist-modes", "--out", tmp_path)
    data = () if "--data" in arguments else ("--data", store.path)
    ended = pgbench(*fixed, *data, *arguments)
    assert ended.code == 2
    assert why in ended.err


def test_another_data_set_is_refused(
    tiny_store: ImageStore, pgbench: Command, tmp_path: Path
) -> None:
    ended = run(pgbench, tiny_store.path, tmp_path, "--row", "K/4 norm")
    assert ended.code == 2
    assert "has no images of 32x32" in ended.err
