"""Every kind of image set gives the same pixels under the same fingerprint."""

import hashlib
import io
import json
import threading
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pgbench.metrics.images import as_image_set, open_images, rebatch

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), np.uint8)


def to_hwc(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -1))


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(to_hwc(pixels)).save(stream, "png")
    return stream.getvalue()


def write(path, kind, pixels=PIXELS):
    """These pixels as an image set of some kind."""
    files = {f"{i // 3}/{i:03}.png": pixels[i] for i in range(len(pixels))}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, image in files.items():
                archive.writestr(name, png(image))
    elif kind in ("npy", "npy nhwc"):
        np.save(path, pixels if kind == "npy" else to_hwc(pixels))
    elif kind == "npz":
        np.savez(path, pixels)
    elif kind == "store":
        path.mkdir()
        np.save(path / "16.npy", pixels)
        header = {"schema": 1, "resolution": 16, "num_images": len(pixels)}
        (path / "dataset.json").write_text(json.dumps(header))
    else:
        for name, image in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(png(image))
    return path


KINDS = {"folder": "x", "zip": "x.zip", "npy": "x.npy", "npy nhwc": "x.npy", "npz": "x.npz"}
KINDS["store"] = "x"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_pixels_and_fingerprint(tmp_path, kind):
    images = open_images(write(tmp_path / KINDS[kind], kind))
    for size in (1, 2, 5, 9):
        batches = list(images.batches(size))
        assert [len(batch) for batch in batches] == [size] * (5 // size) + [5 % size] * (
            5 % size > 0
        )
        np.testing.assert_array_equal(np.concatenate(batches), PIXELS)
    expected = hashlib.sha256(b"(5, 3, 16, 16)" + PIXELS.tobytes()).hexdigest()
    assert images.fingerprint() == expected
    assert images.cheap == (kind not in ("folder", "zip"))


def test_the_fingerprint_is_the_one_a_store_records(tiny_store):
    images = open_images(tiny_store.path)
    assert images.fingerprint() == tiny_store.info.fingerprint[16]


@pytest.mark.parametrize("bytes_at_once", [1, 768, 2000, 2**22])
def test_the_fingerprint_is_of_pixels_shape_and_order_only(monkeypatch, bytes_at_once):
    expected = hashlib.sha256(b"(5, 3, 16, 16)" + PIXELS.tobytes()).hexdigest()
    monkeypatch.setattr("pgbench.metrics.imageset._HASHED_BYTES", bytes_at_once)
    fractions = []
    assert as_image_set(PIXELS).fingerprint(fractions.append) == expected
    assert (fractions[-1], fractions == sorted(fractions)) == (1, True)
    for other in (PIXELS[::-1], PIXELS[:4], PIXELS.reshape(5, 3, 8, 32), PIXELS ^ 1):
        assert as_image_set(other).fingerprint() != expected


def test_batches_that_nobody_takes_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pgbench.metrics.imageset.WORKERS", 2)
    images = open_images(write(tmp_path / "x", "folder", np.repeat(PIXELS, 20, axis=0)))
    before = threading.active_count()
    batches = images.batches(1)
    np.testing.assert_array_equal(next(batches), PIXELS[:1])
    for file in (tmp_path / "x").glob("3?/*.png"):
        file.write_bytes(b"broken")
    batches.close()
    assert threading.active_count() == before


def test_another_dataset_json_next_to_images_does_not_matter(tmp_path):
    write(tmp_path, "folder")
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert open_images(tmp_path).num_images == 5


@given(sizes=st.lists(st.integers(0, 5), max_size=6), size=st.integers(1, 7))
def test_rebatching_keeps_every_image_in_order(sizes, size):
    edges = np.cumsum([0, *sizes])
    images = np.arange(edges[-1] * 3).reshape(-1, 3, 1, 1).astype(np.uint8)
    stream = (images[a:b] for a, b in pairwise(edges))
    found = list(rebatch(stream, size))
    assert all(len(batch) == size for batch in found[:-1])
    assert all(0 < len(batch) <= size for batch in found)
    assert np.array_equal(np.concatenate([images[:0], *found]), images)


def test_images_can_be_selected(tmp_path):
    images = open_images(write(tmp_path / "x", "folder"))
    chosen = images.select([4, 0, 1]).select([2, 0])
    assert chosen.num_images == 2
    np.testing.assert_array_equal(np.concatenate(list(chosen.batches(1))), PIXELS[[1, 4]])
    np.testing.assert_array_equal(np.concatenate(list(images.first(3).batches(2))), PIXELS[:3])
    for wrong in ([5], [-1], [[0]]):
        with pytest.raises(ValueError, match="numbers from 0 to 4"):
            images.select(wrong)


def test_tensors_are_taken_like_arrays():
    tensor = torch.from_numpy(PIXELS)
    for images in (tensor, iter([tensor[:2], tensor[2:]]), iter([tensor[:2], PIXELS[2:]])):
        (batch,) = as_image_set(images).batches(5)
        np.testing.assert_array_equal(batch, PIXELS)
    np.testing.assert_array_equal(np.concatenate(list(rebatch(iter([tensor]), 2))), PIXELS)
    np.testing.assert_array_equal(np.concatenate(list(rebatch(tensor, 2, 3))), PIXELS[:3])


class OnDevice:
    """Like a torch tensor on a GPU."""

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return torch.from_numpy(PIXELS)


def test_tensors_are_taken_from_another_device():
    for images in (OnDevice(), iter([OnDevice()])):
        (batch,) = as_image_set(images).batches(5)
        np.testing.assert_array_equal(batch, PIXELS)


def test_paths_that_are_no_image_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There is no image set at .*missing"):
        open_images(tmp_path / "missing")
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.tar is no image set"):
        open_images(tmp_path / "x.tar")
    with pytest.raises(ValueError, match="is not an image store, so it has no level 16"):
        open_images(tmp_path, resolution=16)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (iter([]), "holds no image"),
        (iter([PIXELS, PIXELS[:, :, :8]]), "images of different shapes"),
        (iter([PIXELS.astype(float)]), "not float64"),
        (iter([[[1], [2, 3]]]), "A list is no batch of images; give arrays"),
        (iter([None]), "not object"),
        (iter([b"pixels", 1]), "Images are uint8 arrays"),
        (PIXELS[0], r"not uint8 of shape \(3, 16, 16\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_image_set(images)
    with pytest.raises(ValueError, match="at least 1 image, not 0"):
        next(as_image_set(PIXELS).batches(0))
