"""Folders and zips give the same pixels, and every bad file in them its own sentence."""

import errno
import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from pgbench.metrics.images import open_images

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


def write_set(path, kind, members):
    """A folder or zip of these files."""
    if kind == "zip":
        return write_zip(path.with_suffix(".zip"), members)
    for name, data in members.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def all_pixels(images, size=2):
    return np.concatenate(list(images.batches(size)))


def png_header(width, height, depth=8):
    """A PNG that declares a size and holds next to nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


BROKEN = {
    "no image": (b"this is no image", "is not a PNG, JPEG, WebP or BMP image"),
    "truncated": (encoded(PIXELS[0])[:300], "is truncated"),
    "16-bit": (encoded(Image.fromarray(np.zeros((16, 20), np.uint16))), "has 16 bits per channel"),
    "CMYK": (encoded(Image.new("CMYK", (20, 16)), ".jpg"), "has the colour mode CMYK"),
    "bomb": (png_header(30_000, 30_000), "decompression bomb"),
}


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


@pytest.mark.parametrize("place", ["first", "later"])
@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_broken_image_is_named(tmp_path, kind, case, place):
    data, message = BROKEN[case]
    names = ["a.png", "b.png"] if place == "first" else ["b.png", "a.png"]
    path = write_set(
        tmp_path / "x", kind, dict(zip(names, [data, encoded(PIXELS[0])], strict=True))
    )
    with pytest.raises(ValueError, match=message) as caught:
        all_pixels(open_images(path))
    assert str(caught.value).startswith(f"{path}/{names[0]} ")
    assert str(caught.value).endswith("; leave such files out with --skip-broken.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_broken_images_can_be_skipped(tmp_path, kind):
    broken = {f"{i % 3}/{case}.png": data for i, (case, (data, _)) in enumerate(BROKEN.items())}
    good = dict(zip(NAMES, [encoded(p) for p in PIXELS], strict=True))
    path = write_set(tmp_path / "x", kind, good | broken)
    fractions = []
    images = open_images(path, skip_broken=True, progress=fractions.append)
    assert images.skipped == tuple(sorted(broken))
    assert images.select([1]).skipped == images.skipped
    assert (fractions[-1], fractions == sorted(fractions)) == (1, True)
    np.testing.assert_array_equal(all_pixels(images), PIXELS[ORDER])
    assert open_images(write_folder(tmp_path / "good"), skip_broken=True).skipped == ()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_set_of_broken_images_is_refused(tmp_path, kind):
    path = write_set(tmp_path / "x", kind, {"a.png": b"", "b.png": b"junk"})
    with pytest.raises(ValueError, match="holds no image that can be decoded"):
        open_images(path, skip_broken=True)


@pytest.mark.parametrize("skip_broken", [False, True])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_another_size_is_never_skipped(tmp_path, kind, skip_broken):
    members = {"a.png": encoded(PIXELS[0]), "b.png": encoded(PIXELS[0, :, :15, :])}
    path = write_set(tmp_path / "x", kind, members)
    message = r"b\.png is 20x15, but the first image of the set, a\.png, is 20x16"
    with pytest.raises(ValueError, match=message) as caught:
        all_pixels(open_images(path, skip_broken=skip_broken))
    assert "skip-broken" not in str(caught.value)


def test_the_first_of_many_broken_images_is_named(tmp_path):
    files = {f"{i:03}.png": encoded(PIXELS[0]) if i < 50 else b"junk" for i in range(100)}
    images = open_images(write_set(tmp_path / "x", "folder", files))
    for size in (1, 7, 1000):
        with pytest.raises(ValueError, match=r"/050\.png is not a PNG"):
            all_pixels(images, size)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_encoded_file_that_is_too_large_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("pgbench.metrics.folders._MAX_FILE_BYTES", 100)
    path = write_set(tmp_path / "x", kind, {"0.png": encoded(PIXELS[0])})
    with pytest.raises(
        ValueError, match=r"0\.png is refused, \d+ bytes are too many for one image"
    ):
        open_images(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    for name, target in {"loop.png": "loop.png", "gone.png": "nowhere"}.items():
        (tmp_path / name).symlink_to(target)
        with pytest.raises(ValueError, match=rf"{name} cannot be read \("):
            open_images(tmp_path)
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    with pytest.raises(ValueError, match=r"pipe\.png is no regular file"):
        open_images(tmp_path)


def test_linked_files_count_and_linked_folders_do_not(tmp_path):
    folder = write_folder(tmp_path / "x")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "z.png").symlink_to(folder / "0.png")
    np.testing.assert_array_equal(
        all_pixels(open_images(folder)), np.concatenate([PIXELS[ORDER], PIXELS[:1]])
    )


def test_a_folder_may_be_called_like_an_image(tmp_path):
    images = open_images(write_folder(tmp_path, PIXELS[:2], ["x.png/0.png", "y.png"]))
    np.testing.assert_array_equal(all_pixels(images), PIXELS[:2])


@pytest.mark.parametrize("name", ["a\nb.png", "ä ö.png", "\udcff.png"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_unusual_names_are_read_and_shown_on_one_line(tmp_path, kind, name):
    if kind == "zip" and not name.isprintable() and "\n" not in name:
        name = "\u2028.png"  # no zip holds bytes that are no text
    path = write_set(tmp_path / "x", kind, {name: encoded(PIXELS[0]), "z.png": b""})
    with pytest.raises(ValueError, match=r"z\.png is not"):
        all_pixels(open_images(path))
    path = write_set(tmp_path / "y", kind, {name: b"junk"})
    with pytest.raises(ValueError, match="is not a PNG") as caught:
        open_images(path)
    assert str(caught.value).isprintable()
    assert ("ä ö" in str(caught.value)) == ("ä" in name)


def test_a_file_that_vanishes_is_named(tmp_path):
    images = open_images(write_folder(tmp_path))
    (tmp_path / "a/1.bmp").unlink()
    with pytest.raises(ValueError, match=r"a/1\.bmp cannot be read \(No such file"):
        all_pixels(images)


def test_what_the_user_may_not_read_is_named(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "x")

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr("pgbench.metrics.folders.open", refuse, raising=False)
        with pytest.raises(ValueError, match=r"0\.png cannot be read \(Permission denied\)"):
            open_images(folder)
    with monkeypatch.context() as patch:
        patch.setattr("pgbench.metrics.folders.os.scandir", refuse)
        with pytest.raises(ValueError, match=r"x cannot be read \(Permission denied\)\."):
            open_images(folder)
    with monkeypatch.context() as patch:
        (folder / "dataset.json").touch()
        patch.setattr("pathlib.Path.open", refuse)
        with pytest.raises(ValueError, match=r"x cannot be read \(Permission denied\)\."):
            open_images(folder)


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


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"0.png": encoded(PIXELS[0])})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.zip/0\.png is encrypted, pack it again without"):
        open_images(path)


def test_a_zip_member_that_lies_about_its_size_is_not_unpacked(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(2**20))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + 24
    assert int.from_bytes(data[place : place + 4], "little") == 2**20
    for declared, message in ((100, "cannot be read from the zip"), (2**30, "are too many")):
        data[place : place + 4] = declared.to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            open_images(path)


def test_folders_and_zips_without_images_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"holds no image; files named \.bmp"):
        open_images(tmp_path)
    with pytest.raises(ValueError, match="holds no image"):
        open_images(write_zip(tmp_path / "x.zip", {"notes.txt": b""}))
