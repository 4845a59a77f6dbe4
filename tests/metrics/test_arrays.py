"""Array files and image stores: both layouts are read, and no pickle ever is."""

import json
import pickle
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from pgbench.metrics.images import open_images

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 20), np.uint8)


def to_hwc(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -1))


def write_store(path, levels=(32, 16), **changes):
    path.mkdir()
    for size in levels:
        np.save(path / f"{size}.npy", np.full((4, 3, size, size), size, np.uint8))
    header = {"schema": 1, "name": "x", "resolution": 32, "num_images": 4, "labels": None}
    (path / "dataset.json").write_text(json.dumps(header | changes))
    return path


def all_pixels(images, size=2):
    return np.concatenate(list(images.batches(size)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["npy", "npz", "npz images", "npz compressed"])
def test_arrays_are_read_in_both_layouts(tmp_path, layout, kind):
    array = PIXELS if layout == "NCHW" else to_hwc(PIXELS)
    path = tmp_path / f"x.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz images":
        np.savez(path, images=array, labels=np.arange(5))
    else:
        (np.savez_compressed if "compressed" in kind else np.savez)(path, array)
    images = open_images(path)
    assert images.shape == (3, 16, 20)
    found = all_pixels(images)
    np.testing.assert_array_equal(found, PIXELS)
    assert found.flags.c_contiguous


@settings(deadline=None)
@given(
    pixels=arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=6)),
    nhwc=st.booleans(),
    fortran=st.booleans(),
    npz=st.booleans(),
    size=st.integers(1, 7),
)
def test_any_shape_survives_a_round_trip(pixels, nhwc, fortran, npz, size):
    pixels = np.repeat(pixels[:, :1], 3, axis=1)
    for axis in (2, 3):
        if pixels.shape[axis] == 3:  # such images may look like both layouts
            pixels = np.repeat(pixels, 2, axis)
    saved = pixels.transpose(0, 2, 3, 1) if nhwc else pixels
    saved = np.asfortranarray(saved) if fortran else np.ascontiguousarray(saved)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.npz" if npz else "x.npy")
        (np.savez if npz else np.save)(path, saved)
        np.testing.assert_array_equal(all_pixels(open_images(path), size), pixels)


@settings(deadline=None)
@given(
    array=scalar_dtypes().flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, max_dims=5))),
    npz=st.booleans(),
)
def test_other_arrays_are_refused_in_one_sentence(array, npz):
    if array.dtype == np.uint8 and array.ndim == 4:
        array = array.astype(np.int8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.npz" if npz else "x.npy")
        (np.savez if npz else np.save)(path, array)
        with pytest.raises(ValueError, match=r"x\.np[yz] .*; save .*\.$") as caught:
            open_images(path)
        assert str(caught.value).isprintable()


def pixels_or_sentence(path):
    try:
        return all_pixels(open_images(path))
    except ValueError as error:
        return str(error)


@settings(deadline=None)
@given(place=st.integers(0, 5000), junk=st.binary(max_size=8), npz=st.booleans(), cut=st.booleans())
def test_damaged_arrays_give_pixels_or_one_sentence(place, junk, npz, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.npz" if npz else "x.npy")
        (np.savez if npz else np.save)(path, PIXELS[:, :, :6, :8])
        data = path.read_bytes()
        place %= len(data)
        path.write_bytes(data[:place] + junk + (b"" if cut else data[place + len(junk) :]))
        found = pixels_or_sentence(path)
        if isinstance(found, str):
            assert found.startswith(str(path))
            assert found.isprintable()
        else:
            assert (found.shape[1], found.dtype) == (3, np.uint8)


def test_a_store_gives_its_highest_level_or_the_one_asked_for(tmp_path):
    store = write_store(tmp_path / "store")
    assert open_images(store).shape == (3, 32, 32)
    level = open_images(store, resolution=16)
    assert (level.num_images, level.shape) == (4, (3, 16, 16))
    assert np.all(all_pixels(level) == 16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 16, 16), np.float32), r"float32 .*; save the pixels as uint8, \[0, 255\]"),
        (np.zeros((2, 3, 16, 16), np.uint16), "uint16 .*; save the pixels as uint8"),
        (np.zeros((16, 16), np.uint8), r"uint8 of shape \(16, 16\); save all .* NHWC or NCHW"),
        (np.zeros((2, 3, 16, 3), np.uint8), "both axis 1 and axis 3 .* not 3 pixels wide"),
        (np.zeros((2, 1, 16, 16), np.uint8), "neither axis 1 nor axis 3 .* grey ones repeated"),
        (np.zeros((2, 16, 16, 4), np.uint8), "neither axis 1 nor axis 3 .* without alpha"),
        (np.zeros((0, 3, 16, 16), np.uint8), "is no image; save at least one"),
        (np.array([{"a": 1}], dtype=object), "cannot be read as a plain"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_images_are_refused(tmp_path, array, message, suffix):
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, array)
    with pytest.raises(ValueError, match=message) as caught:
        open_images(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_and_damaged_arrays_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, PIXELS)
    whole = path.read_bytes()
    huge = whole[: whole.index(b"(5,")] + b"(5" + b"0" * 9 + whole[whole.index(b"(5,") + 11 :]
    long = whole.replace(b" " * 20, b"x" * 20)
    for data in (long, pickle.dumps([1, 2]), whole[: len(whole) // 2], b"", b"\x93NUMPY", huge):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.np[yz] cannot be read as a plain"):
            open_images(path)


def test_an_npz_must_say_which_array_it_means(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, a=PIXELS, b=PIXELS)
    with pytest.raises(ValueError, match=r"holds \['a.npy', 'b.npy'\], not one array"):
        open_images(path)
    np.savez(path, PIXELS)
    monkeypatch.setattr("pgbench.metrics.arrays._MAX_NPZ_BYTES", 1000)
    with pytest.raises(ValueError, match=r"save a \.npy instead"):
        open_images(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "has schema 2; schema 1 is known"),
        ({"schema": "x\n" * 1000}, "has schema"),
        ({"resolution": 10**300}, "lacks a whole number"),
        ({"resolution": "../x"}, "lacks a whole number"),
        ({"num_images": None}, "lacks a whole number"),
        ({"resolution": 64}, r"has no level 64; its levels are \[32, 16\]"),
        ({"num_images": 5}, "holds 4 images .* dataset.json says 5"),
    ],
)
def test_bad_stores_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_images(write_store(tmp_path / "store", **changes))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_store_with_a_broken_header_is_refused(tmp_path):
    store = write_store(tmp_path / "store")
    for text in ("{", "[" * 100_000):
        (store / "dataset.json").write_text(text)
        with pytest.raises(ValueError, match=r"dataset\.json is not valid JSON"):
            open_images(store)


def write_composed(path, **arrays):
    path.mkdir()
    rng = np.random.default_rng(0)
    held = {f"{size}": rng.integers(0, 256, (5, size, size), np.uint8) for size in (16, 8)}
    held["index"] = rng.integers(0, 5, (7, 3), np.uint16)
    for name, array in (held | arrays).items():
        np.save(path / f"{name}.npy", array)
    header = {"schema": 1, "name": "x", "resolution": 16, "num_images": 7, "composed": True}
    (path / "dataset.json").write_text(json.dumps(header))
    return path


def test_a_composed_store_is_three_glyphs_an_image(tmp_path):
    store = write_composed(tmp_path / "store")
    index = np.load(store / "index.npy")
    for size in (16, 8):
        glyphs = np.load(store / f"{size}.npy")
        images = open_images(store, resolution=size)
        assert (images.num_images, images.shape) == (7, (3, size, size))
        expected = np.stack([[glyphs[i] for i in image] for image in index])
        np.testing.assert_array_equal(all_pixels(images), expected)
        np.testing.assert_array_equal(all_pixels(images.select([6, 0, 6])), expected[[6, 0, 6]])
        np.save(tmp_path / "expanded.npy", expected)
        assert images.fingerprint() == open_images(tmp_path / "expanded.npy").fingerprint()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"index": np.full((7, 3), 5, np.uint16)}, r"names glyph 5, but .*16\.npy holds 5"),
        ({"index": np.zeros((7, 3), np.int64)}, r"holds int64 .* an index is unsigned \(N, 3\)"),
        ({"index": np.zeros((0, 3), np.uint16)}, r"holds uint16 of shape \(0, 3\), but an index"),
        ({"index": np.zeros(7, np.uint16)}, r"holds uint16 of shape \(7,\), but an index"),
        ({"index": np.zeros((6, 3), np.uint16)}, "holds 6 images .* dataset.json says 7"),
        ({"index": np.array([None])}, r"index\.npy cannot be read as a plain"),
        ({"16": np.zeros((5, 3, 16, 16), np.uint8)}, r"but glyphs are uint8 \(M, r, r\)"),
        ({"16": np.zeros((5, 16, 16))}, "holds float64 .* but glyphs are uint8"),
        ({"16": np.zeros((5, 16, 8), np.uint8)}, r"of \(3, 16, 8\), but dataset\.json says"),
    ],
)
def test_bad_composed_stores_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_images(write_composed(tmp_path / "store", **arrays))
    assert str(caught.value).isprintable()
    assert "prepare the store again" in str(caught.value)


def test_an_npz_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(ValueError, match=r"x\.npz cannot be read as a plain \.npz"):
        open_images(path)
