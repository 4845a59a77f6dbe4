"""Each kind of real data set, from what people have on disk to a trained row."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from pgbench.data import ImageStore
from pgbench.prepare import downscaled

Command = Callable[..., Any]
COUNT = 1030  # the smoke profile measures 1024


def pixels(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def make_celeba(place: Path) -> Path:
    folder = place / "img_align_celeba"
    folder.mkdir()
    picture = pixels(0, 218, 178, 3)
    for i in range(COUNT):
        (folder / f"{i + 1:06d}.png").write_bytes(encoded(np.roll(picture, 3 * i, axis=1)))
    return folder


def make_celeba_hq(place: Path) -> Path:
    with zipfile.ZipFile(place / "celeba-hq.zip", "w") as archive:
        for i in range(9):  # flat colours: a thousand pixels a side are slow to compress
            colour = np.full((1024, 1024, 3), pixels(i, 3), np.uint8)
            archive.writestr(f"{i:05d}.png", encoded(colour))
    return place / "celeba-hq.zip"


def make_lsun(place: Path) -> Path:
    with (
        lmdb.open(str(place / "cat_lmdb"), map_size=2**26) as database,
        database.begin(write=True) as transaction,
    ):
        for i in range(COUNT):
            transaction.put(f"{i:05d}".encode(), encoded(pixels(i, 20, 24, 3)))
        transaction.put(b"99999", b"no picture")
    return place / "cat_lmdb"


def make_cifar10(place: Path) -> Path:
    with tarfile.open(place / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        for k in range(1, 6):
            images = pixels(k, COUNT // 5, 3072)
            batch = {b"data": images, b"labels": [i % 10 for i in range(COUNT // 5)]}
            data = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{k}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return place / "cifar-10-python.tar.gz"


def make_mnist(place: Path) -> Path:
    for stem, array in (
        ("train-images-idx3-ubyte", pixels(0, 20, 28, 28)),
        ("train-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 10),
    ):
        magic = 0x800 + array.ndim
        (place / stem).write_bytes(
            struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
        )
    return place


def make_stylegan_zip(place: Path) -> Path:
    with zipfile.ZipFile(place / "things.zip", "w") as archive:
        for i in range(COUNT):
            archive.writestr(f"img{i:05d}.png", encoded(pixels(i, 16, 16, 3)))
        labels = [[f"img{i:05d}.png", i % 3] for i in range(COUNT)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return place / "things.zip"


def make_hdf5(place: Path) -> Path:
    with h5py.File(place / "celeba-hq.h5", "w") as file:
        images = pixels(0, COUNT, 3, 32, 32)
        for resolution, level in downscaled(images):
            file.create_dataset(f"data{resolution}x{resolution}", data=level, compression="gzip")
        file.create_dataset("data2x2", data=pixels(1, COUNT, 3, 2, 2), compression="gzip")
        file.create_dataset("data1x1", data=pixels(1, COUNT, 3, 1, 1), compression="gzip")
    return place / "celeba-hq.h5"


KINDS: dict[str, tuple[str, Callable[[Path], Path], tuple[object, ...], int, bool]] = {
    "celeba": ("celeba", make_celeba, (), 128, True),
    "lsun": ("lsun-cat", make_lsun, ("--resolution", 16), 16, True),
    "cifar10": ("cifar10", make_cifar10, (), 32, False),
    "mnist-rgb": ("mnist-rgb", make_mnist, ("--max-images", COUNT), 32, False),
    "stylegan zip": ("folder", make_stylegan_zip, (), 16, False),
    "hdf5": ("celeba-hq", make_hdf5, (), 32, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_trains_on_a_store_of_each_kind(kind: str, tmp_path: Path, pgbench: Command) -> None:
    name, make, options, resolution, mirror = KINDS[kind]
    out, results = tmp_path / "store", tmp_path / "results"
    source = make(tmp_path)
    made = pgbench("data", "prepare", name, "--from", source, "--out", out, *options)
    assert (made.code, made.out.splitlines()[0]) == (
        0,
        f"{out}: {COUNT} images of {resolution}x{resolution}",
    )
    info = ImageStore.open(out).info
    assert (info.name, info.mirror) == ("store" if name == "folder" else name, mirror)
    assert pgbench("data", "verify", out).code == 0
    row = ("run", "ablation", "--row", "g", "--profile", "smoke", "--device", "cpu")
    ended = pgbench(*row, "--data", out, "--out", results)
    assert (ended.code, f"ours: {info.name} 16²" in ended.out) == (0, True)
    (run,) = results.glob(f"table1-g-{info.name}-smoke-s0-*")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {record["dataset_fingerprint"] for record in records} == {info.fingerprint[16]}


@pytest.mark.slow
def test_celeba_hq_pictures_come_with_every_level(tmp_path: Path, pgbench: Command) -> None:
    source, out = make_celeba_hq(tmp_path), tmp_path / "store"
    made = pgbench(
        "data", "prepare", "celeba-hq", "--from", source, "--out", out, "--max-images", 9
    )
    assert made.code == 0
    store = ImageStore.open(out)
    assert sorted(store.info.fingerprint) == [2**k for k in range(2, 11)]
    assert np.all(store.level(4)[3] == pixels(3, 3)[:, None, None])
    assert "9 of the expected 30,000 pictures" in made.out


def test_tfrecords_go_out_and_come_back(
    tiny_store: ImageStore, tmp_path: Path, pgbench: Command
) -> None:
    first, back, second = tmp_path / "first", tmp_path / "back", tmp_path / "second"
    assert pgbench("data", "export", tiny_store.path, "--out", first).code == 0
    made = pgbench("data", "prepare", "folder", "--from", first, "--out", back)
    assert made.code == 0
    assert ImageStore.open(back).info.fingerprint == tiny_store.info.fingerprint
    assert pgbench("data", "export", back, "--out", second).code == 0
    names = {file.name.rpartition("-")[2]: file for file in first.iterdir()}
    assert len(names) == 3
    for file in second.iterdir():
        assert file.read_bytes() == names[file.name.rpartition("-")[2]].read_bytes()


def test_the_list_says_where_stores_are(
    tiny_store: ImageStore, tmp_path: Path, pgbench: Command
) -> None:
    source, out = make_stylegan_zip(tmp_path), tmp_path / "kept"
    assert pgbench("data", "prepare", "folder", "--from", source, "--out", out).code == 0
    found = json.loads(pgbench("data", "list", "--json").out)
    assert {"portraits", "scenes", "celeba", "celeba-hq", "lsun-<category>", "cifar10"} < {
        each["name"] for each in found["sets"]
    }
    assert {"path": str(out), "name": "kept", "num_images": COUNT, "resolution": 16} in found[
        "stores"
    ]
    text = pgbench("data", "list").out
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in text
    assert str(out) in text
    (out / "dataset.json").unlink()
    assert str(out) not in pgbench("data", "list").out


def test_inspect_tells_and_draws(tmp_path: Path, pgbench: Command) -> None:
    source, out, sheet = make_stylegan_zip(tmp_path), tmp_path / "store", tmp_path / "sheet.png"
    assert pgbench("data", "prepare", "folder", "--from", source, "--out", out).code == 0
    ended = pgbench("data", "inspect", out, "--json", "--sheet", sheet)
    found = json.loads(ended.out)
    assert (found["name"], found["num_images"]) == ("store", COUNT)
    expected = np.stack([pixels(i, 16, 16, 3) for i in range(COUNT)]).astype(float)
    np.testing.assert_allclose(found["mean"], expected.mean(axis=(0, 1, 2)), rtol=1e-6)
    with Image.open(sheet) as picture:
        assert picture.size[0] > 100
    lines = pgbench("data", "inspect", out).out
    assert "fingerprint" in lines


def test_verify_names_the_first_image_that_differs(tmp_path: Path, pgbench: Command) -> None:
    source, out = make_stylegan_zip(tmp_path), tmp_path / "store"
    assert pgbench("data", "prepare", "folder", "--from", source, "--out", out).code == 0
    level = np.lib.format.open_memmap(out / "16.npy", mode="r+")
    level[123, 1, 2, 3] ^= 1
    level.flush()
    ended = pgbench("data", "verify", out)
    assert (ended.code, ended.out) == (1, "")
    assert "image 123" in ended.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("celebrities", "--from", "."), "there is no data set 'celebrities'"),
        (("lsun-sofas", "--from", "."), "there is no data set 'lsun-sofas'"),
        (("lsun-<category>", "--from", "."), "there is no data set 'lsun-<category>'"),
        (("celeba",), "celeba needs --from"),
        (("celeba", "--from", "nowhere"), "there is nothing at nowhere"),
        (("celeba", "--from", ".", "--crop", "centre"), "--crop is not for celeba"),
        (("cifar10", "--from", ".", "--resolution", "16"), "--resolution is not for cifar10"),
        (("portraits", "--crop", "centre"), "portraits is drawn, not read"),
        (("portraits", "--from", "."), "portraits is drawn, not read"),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pgbench: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = pgbench("data", "prepare", *arguments, "--out", "store")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert why in ended.err
    assert not (tmp_path / "store").exists()
