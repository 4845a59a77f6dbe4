"""Every kind of image set gives the same pixels, and every bad input its own sentence."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pgbench.metrics.images import as_image_set, open_images, rebatch

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 20), np.uint8)
NAMES = ["0.png", "a/1.bmp", "a/2.PNG", "a-3.webp", "b/c/4.png"]  # "a-3" sorts before "a/1"
ORDER = [0, 3, 1, 2, 4]


def encoded(pixels, suffix=".png", **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(to_hwc(pixels))
    lossless = {"lossless": True} if suffix == ".webp" else {}
    image.save(stream, suffix[1:].lower().replace("jpg", "jpeg"), **lossless, **options)
    return stream.getvalue()


def to_hwc(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -1))


def write_folder(path, images=PIXELS, names=NAMES):
    for name, pixels in zip(names, images, strict=True):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(pixels, file.suffix))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_store(path, levels=(32, 16), **changes):
    path.mkdir()
    for size in levels:
        np.save(path / f"{size}.npy", np.full((4, 3, size, size), size, np.uint8))
    header = {"schema": 1, "name": "x", "resolution": 32, "num_images": 4, "labels": None}
    (path / "dataset.json").write_text(json.dumps(header | changes))
    return path


def all_pixels(images, size=2):
    return np.concatenate(list(images.batches(size)))


def one_image(path, data, name="0.png"):
    path.joinpath(name).write_bytes(data)
    return all_pixels(open_images(path))[0]


def png_header(width, height, depth=8):
    """A PNG that declares a size and holds next to nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_folder_is_read_in_posix_order(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    images = open_images(tmp_path)
    assert (images.num_images, images.shape) == (5, (3, 16, 20))
    np.testing.assert_array_equal(all_pixels(images), PIXELS[ORDER])


def test_a_zip_is_read_like_the_folder(tmp_path):
    names_and_data = {n: encoded(p, n[n.rindex(".") :]) for n, p in zip(NAMES, PIXELS, strict=True)}
    junk = {"__MACOSX/._0.png": b"junk", "notes.txt": b"no image", "a/": b""}
    images = open_images(write_zip(tmp_path / "x.zip", names_and_data | junk))
    np.testing.assert_array_equal(all_pixels(images), PIXELS[ORDER])


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


def test_a_store_gives_its_highest_level_or_the_one_asked_for(tmp_path):
    store = write_store(tmp_path / "store")
    assert open_images(store).shape == (3, 32, 32)
    level = open_images(store, resolution=16)
    assert (level.num_images, level.shape) == (4, (3, 16, 16))
    assert np.all(all_pixels(level) == 16)


def test_another_dataset_json_next_to_images_does_not_matter(tmp_path):
    write_folder(tmp_path)
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
    images = open_images(write_folder(tmp_path))
    chosen = images.select([4, 0, 1]).select([2, 0])
    assert chosen.num_images == 2
    np.testing.assert_array_equal(all_pixels(chosen), PIXELS[ORDER][[1, 4]])
    np.testing.assert_array_equal(all_pixels(images.first(3)), PIXELS[ORDER][:3])
    for wrong in ([5], [-1], [[0]]):
        with pytest.raises(ValueError, match="numbers from 0 to 4"):
            images.select(wrong)


def test_grey_palette_and_bilevel_become_rgb(tmp_path):
    grey = Image.fromarray(PIXELS[0, 0])
    np.testing.assert_array_equal(one_image(tmp_path, encoded(grey)), PIXELS[0, [0, 0, 0]])
    palette = Image.new("P", (20, 16), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    found = one_image(tmp_path, encoded(palette))
    np.testing.assert_array_equal(found[:, 3, 3], [10, 20, 30])
    found = one_image(tmp_path, encoded(Image.new("1", (20, 16), 1)))
    assert np.all(found == 255)


def test_transparency_is_composited_over_white(tmp_path):
    rgba = Image.new("RGBA", (16, 16), (0, 100, 200, 0))
    rgba.paste((0, 100, 200, 255), (0, 0, 8, 16))
    found = one_image(tmp_path, encoded(rgba))
    np.testing.assert_array_equal(found[:, 0, 0], [0, 100, 200])
    np.testing.assert_array_equal(found[:, 0, 15], [255, 255, 255])
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert np.all(one_image(tmp_path, encoded(palette, transparency=0)) == 255)


def test_a_jpeg_is_close_to_what_was_saved(tmp_path):
    found = one_image(
        tmp_path, encoded(Image.new("RGB", (16, 16), (90, 120, 200)), ".jpg"), "0.jpg"
    )
    assert np.abs(found.astype(int) - np.array([90, 120, 200])[:, None, None]).max() <= 3


BAD_IMAGES = {
    "no image": (b"this is no image", "is not a PNG, JPEG, WebP or BMP image"),
    "empty": (b"", "is not a PNG, JPEG, WebP or BMP image"),
    "truncated": (encoded(PIXELS[0])[:300], "cannot be decoded, it may be truncated"),
    "gif": (encoded(Image.new("L", (16, 16)), ".gif"), "is not a PNG, JPEG, WebP or BMP image"),
    "16-bit grey": (
        encoded(Image.fromarray(np.zeros((16, 20), np.uint16))),
        "has 16 bits per channel",
    ),
    "16-bit RGB": (png_header(20, 16, depth=16), "has 16 bits per channel"),
    "CMYK": (encoded(Image.new("CMYK", (20, 16)), ".jpg"), "has the colour mode CMYK"),
    "bomb": (png_header(30_000, 30_000), "decompression bomb"),
    "bomb Pillow warns about": (png_header(10_000, 10_000), "decompression bomb"),
    "bomb Pillow lets pass": (png_header(8_192, 8_193), "decompression bomb"),
    "other size": (encoded(PIXELS[0, :, :15, :]), "is 20x15, but the first image.* is 20x16"),
}


@pytest.mark.parametrize("place", ["first", "later"])
@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_bad_image_is_named(tmp_path, kind, case, place):
    data, message = BAD_IMAGES[case]
    good = encoded(PIXELS[0])
    members = {"a.png": data, "b.png": good} if place == "first" else {"a.png": good, "b.png": data}
    path = tmp_path
    if kind == "zip":
        path = write_zip(tmp_path / "x.zip", members)
    else:
        for name, content in members.items():
            (path / name).write_bytes(content)
    bad = "a.png" if place == "first" and case != "other size" else "b.png"
    if case == "other size" and place == "first":
        message = "is 20x16, but the first image.* is 20x15"
    with pytest.raises(ValueError, match=message) as caught:
        all_pixels(open_images(path))
    assert f"{path}/{bad}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_encoded_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pgbench.metrics.images._MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match=r"0\.png is refused: \d+ bytes are too many"):
        open_images(write_folder(tmp_path))


@pytest.mark.parametrize("name", ["../0.png", "a/../../0.png", "/0.png", "..\\0.png", "C:\\0.png"])
def test_a_zip_with_a_path_that_leaves_it_is_refused(tmp_path, name):
    path = write_zip(tmp_path / "x.zip", {name: encoded(PIXELS[0])})
    with pytest.raises(ValueError, match="leaves the archive"):
        open_images(path)


def test_damaged_zips_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"x\.zip cannot be read as a zip"):
        open_images(path)
    write_zip(path, {"0.png": encoded(PIXELS[0])})
    data = bytearray(path.read_bytes())
    data[100] ^= 255  # inside the stored image: its checksum is wrong now
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.zip/0\.png cannot be read from the zip"):
        open_images(path)


def test_sets_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        open_images(tmp_path)
    with pytest.raises(ValueError, match="holds no image"):
        open_images(write_zip(tmp_path / "x.zip", {"notes.txt": b""}))
    np.save(tmp_path / "x.npy", PIXELS[:0])
    with pytest.raises(ValueError, match=r"x\.npy"):
        open_images(tmp_path / "x.npy")


def test_paths_that_are_no_image_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There is no image set at .*missing"):
        open_images(tmp_path / "missing")
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.tar is no image set"):
        open_images(tmp_path / "x.tar")
    with pytest.raises(ValueError, match="is not an image store, so it has no level 16"):
        open_images(tmp_path, resolution=16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 16, 16), np.float32), "float32 of shape"),
        (np.zeros((2, 16, 16), np.uint8), r"uint8 of shape \(2, 16, 16\)"),
        (np.zeros((2, 3, 16, 3), np.uint8), "both axis 1 and axis 3"),
        (np.zeros((2, 1, 16, 16), np.uint8), "neither axis 1 nor axis 3"),
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
    for data in (pickle.dumps([1, 2]), whole[: len(whole) // 2], b"", b"\x93NUMPY", huge):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.np[yz] cannot be read as a plain"):
            open_images(path)


def test_an_npz_must_say_which_array_it_means(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, a=PIXELS, b=PIXELS)
    with pytest.raises(ValueError, match=r"holds \['a.npy', 'b.npy'\], not one array"):
        open_images(path)
    np.savez(path, PIXELS)
    monkeypatch.setattr("pgbench.metrics.images._MAX_NPZ_BYTES", 1000)
    with pytest.raises(ValueError, match=r"save a \.npy instead"):
        open_images(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "has schema 2; schema 1 is known"),
        ({"resolution": "../x"}, "lacks a whole number"),
        ({"num_images": None}, "lacks a whole number"),
        ({"resolution": 64}, r"has no level 64; its levels are \[32, 16\]"),
        ({"num_images": 5}, "holds 4 images .* dataset.json says 5"),
    ],
)
def test_bad_stores_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        open_images(write_store(tmp_path / "store", **changes))


def test_a_store_with_a_broken_header_is_refused(tmp_path):
    store = write_store(tmp_path / "store")
    for text in ("{", "[" * 100_000):
        (store / "dataset.json").write_text(text)
        with pytest.raises(ValueError, match=r"dataset\.json is not valid JSON"):
            open_images(store)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (iter([]), "holds no image"),
        (iter([PIXELS, PIXELS[:, :, :8]]), "images of different shapes"),
        (iter([PIXELS.astype(float)]), "not float64"),
        (PIXELS[0], r"not uint8 of shape \(3, 16, 20\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_image_set(images)
    with pytest.raises(ValueError, match="at least 1 image, not 0"):
        next(as_image_set(PIXELS).batches(0))
