"""Named data sets and folders of pictures, whatever lies in them."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgbench import portraits, scenes
from pgbench.data import ImageStore
from pgbench.sources import (
    BUILT_IN,
    built_in_store,
    cache_folder,
    dataset_name,
    folder_store,
    open_dataset,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one good picture, a.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(PIXELS).save(folder / "a.png")
    return folder


def prepared(pictures: Path, **options: Any) -> ImageStore:
    return folder_store(pictures, pictures.parent / "store", **options)


def refused(pictures: Path, why: str, **options: Any) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        prepared(pictures, **options)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (pictures.parent / "store").exists()


class TestBuiltIn:
    @pytest.mark.parametrize(
        ("name", "render"), [("portraits", portraits.render), ("scenes", scenes.render)]
    )
    def test_is_drawn_from_seed_0(
        self, name: str, render: Callable[..., Any], tmp_path: Path
    ) -> None:
        store = built_in_store(BUILT_IN[name], resolution=16, num_images=3, out=tmp_path / "s")
        for index in range(3):
            assert np.array_equal(store.level(16)[index], render(0, index, resolution=16))
        assert (store.info.name, store.info.mirror) == (name, name == "portraits")
        version = portraits.VERSION if name == "portraits" else scenes.VERSION
        assert store.info.source == f"pgbench {name} version {version}, seed 0"

    def test_is_kept_in_the_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first = open_dataset("scenes", resolution=8, num_images=4)
        assert first.path == cache_folder() / f"scenes-v{scenes.VERSION}-8-4"
        assert cache_folder().is_relative_to(tmp_path)
        before = (first.path / "8.npy").stat()
        again = open_dataset("scenes", resolution=8, num_images=4)
        assert again.info == first.info
        assert (first.path / "8.npy").stat() == before

    def test_has_a_name_without_being_drawn(self) -> None:
        assert dataset_name("portraits") == ("portraits", True)
        assert dataset_name("scenes") == ("scenes", False)

    def test_an_impossible_resolution_is_one_sentence(self, tmp_path: Path) -> None:
        for name in BUILT_IN:
            with pytest.raises(ValueError, match="resolution 33 is not available"):
                built_in_store(BUILT_IN[name], resolution=33, num_images=2, out=tmp_path / "s")
        assert not (tmp_path / "s").exists()


class TestNamed:
    def test_a_store_is_opened_by_its_folder(self, tiny_store: ImageStore) -> None:
        assert dataset_name(str(tiny_store.path)) == ("tiny", True)
        opened = open_dataset(str(tiny_store.path), resolution=16, num_images=None)
        assert opened.info == tiny_store.info

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match="no data set 'nope'; the built-in ones are portraits"):
            dataset_name("nope")

    def test_a_folder_of_pictures_names_the_command(self, pictures: Path) -> None:
        for read in (dataset_name, lambda data: open_dataset(data, resolution=8, num_images=None)):
            with pytest.raises(ValueError, match="pgbench data prepare folder --from"):
                read(str(pictures))


class TestFolder:
    def test_pixels_in_the_order_of_names(self, pictures: Path) -> None:
        (pictures / "b").mkdir()
        images = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8)
        for name, image in zip(("z.bmp", "b/c.PNG", "b/d.webp"), images, strict=True):
            Image.fromarray(image).save(pictures / name, lossless=True)
        store = prepared(pictures)
        expected = np.stack([PIXELS, images[1], images[2], images[0]]).transpose(0, 3, 1, 2)
        assert np.array_equal(store.level(8), expected)
        info = store.info
        assert (info.name, info.source, info.num_images) == ("store", "folder pictures", 4)
        assert not info.mirror

    def test_max_images_takes_the_first(self, pictures: Path) -> None:
        for name in ("b.png", "c.png"):
            Image.fromarray(PIXELS).save(pictures / name)
        (pictures / "d.png").write_bytes(b"never read")
        assert prepared(pictures, num_images=2).info.num_images == 2

    def test_more_than_there_are_takes_all(self, pictures: Path) -> None:
        assert prepared(pictures, num_images=5).info.num_images == 1

    @pytest.mark.parametrize(
        ("out", "name"),
        [("Faces!", "faces"), ("..x..", "x"), ("Ä", "folder"), ("a" * 99, "a" * 64)],
    )
    def test_is_named_after_its_folder_safely(self, pictures: Path, out: str, name: str) -> None:
        assert folder_store(pictures, pictures.parent / out).info.name == name

    def test_what_is_no_picture_by_name_is_passed_by(self, pictures: Path) -> None:
        for name in ("._a.png", ".hidden.jpg", "notes.txt", "Thumbs.db"):
            (pictures / name).write_bytes(b"?")
        (pictures / ".cache").mkdir()
        (pictures / ".cache" / "b.png").write_bytes(b"?")
        (pictures / "folder.png").mkdir()
        assert prepared(pictures).info.num_images == 1

    def test_no_pictures(self, pictures: Path) -> None:
        (pictures / "a.png").unlink()
        refused(pictures, "holds no pictures (.bmp .jpeg .jpg .png .webp)")

    def test_no_folder(self, pictures: Path) -> None:
        refused(pictures / "a.png", "a.png is no folder; give --from")

    @pytest.mark.parametrize(
        ("size", "why"),
        [
            ((16, 16), "is 16x16 pixels and the first picture 8x8"),
            ((8, 4), "is 8x4 pixels; pictures must be square"),
            ((12, 12), "is 12x12 pixels and the first picture 8x8"),
        ],
    )
    def test_a_size_that_does_not_fit_is_named(
        self, pictures: Path, size: tuple[int, int], why: str
    ) -> None:
        Image.new("RGB", size).save(pictures / "b.png")
        refused(pictures, f"{pictures / 'b.png'} {why}")

    @pytest.mark.parametrize("side", [2, 12, 2048])
    def test_the_first_picture_must_fit_too(self, pictures: Path, side: int) -> None:
        Image.new("RGB", (side, side)).save(pictures / "a.png")
        refused(pictures, f"is {side}x{side} pixels; pictures must be square with a side")

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
    def test_a_file_that_is_no_image_is_named(self, pictures: Path, content: bytes) -> None:
        (pictures / "b.png").write_bytes(content)
        refused(pictures, f"{pictures / 'b.png'} is no readable picture")

    @pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp"])
    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_a_truncated_file_is_named(self, pictures: Path, kind: str, share: float) -> None:
        path = pictures / f"b.{kind}"
        Image.fromarray(PIXELS).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        refused(pictures, f"{path} is no readable picture")

    def test_a_flipped_byte_is_a_sentence_or_a_picture(self, pictures: Path) -> None:
        path = pictures / "a.png"
        content = path.read_bytes()
        for position in range(8, len(content), 11):
            path.write_bytes(
                content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
            )
            try:
                folder_store(pictures, pictures.parent / f"store{position}")
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017  some flips are harmless

    def test_another_format_under_a_pictures_name_is_refused(self, pictures: Path) -> None:
        eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
        (pictures / "b.png").write_bytes(eps)
        refused(pictures, "b.png is no readable picture")
        Image.fromarray(PIXELS).save(pictures / "b.png", format="GIF")
        refused(pictures, "b.png is no readable picture")

    @pytest.mark.parametrize("side", [12_000, 60_000])
    def test_a_decompression_bomb_is_refused_unread(self, pictures: Path, side: int) -> None:
        """Pillow only warns of the smaller one."""
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk
        png += struct.pack(">I", zlib.crc32(chunk))
        data = b"IDAT" + zlib.compress(bytes(10_000))
        png += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        (pictures / "b.png").write_bytes(png)
        refused(pictures, "decompression bomb")

    def test_grey_palette_and_animated_pictures_become_rgb(self, pictures: Path) -> None:
        grey = Image.fromarray(PIXELS[..., 0])
        palette = Image.fromarray(PIXELS // 128 * 255).quantize(8)
        first = Image.fromarray(PIXELS)
        grey.save(pictures / "b.png")
        palette.save(pictures / "c.png")
        second = Image.new("RGB", (8, 8))
        first.save(pictures / "d.webp", save_all=True, append_images=[second], lossless=True)
        first.save(pictures / "e.png", save_all=True, append_images=[second])
        level = prepared(pictures).level(8).transpose(0, 2, 3, 1)
        assert np.array_equal(level[1], np.repeat(PIXELS[..., :1], 3, axis=2))
        assert np.array_equal(level[2], PIXELS // 128 * 255)
        assert np.array_equal(level[3], PIXELS)
        assert np.array_equal(level[4], PIXELS)

    def test_transparency_is_composited_over_white(self, pictures: Path) -> None:
        image = np.zeros((8, 8, 4), np.uint8)  # black, its left half transparent
        image[:, 4:, 3] = 255
        Image.fromarray(image).save(pictures / "b.png")
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([10, 20, 30, 40, 50, 60])
        palette.save(pictures / "c.png", transparency=b"\xff\x00")
        level = prepared(pictures).level(8)
        assert (level[1, :, :, :4] == 255).all()
        assert (level[1, :, :, 4:] == 0).all()
        assert (level[2] == 255).all()

    @pytest.mark.parametrize("mode", ["CMYK", "I;16"])
    def test_a_colour_mode_that_would_change_silently_is_refused(
        self, pictures: Path, mode: str
    ) -> None:
        name = "b.jpg" if mode == "CMYK" else "b.png"
        Image.new(mode, (8, 8)).save(pictures / name)
        refused(pictures, f"{name} has the colour mode {mode}; convert it to 8-bit RGB")

    def test_the_metrics_see_the_same_pixels(self, pictures: Path) -> None:
        from pgbench.metrics import open_images

        image = RNG.integers(0, 256, (8, 8, 4), np.uint8)
        Image.fromarray(image).save(pictures / "b.png")
        Image.fromarray(image[..., 0]).convert("LA").save(pictures / "c.png")
        stored = prepared(pictures).level(8)
        (read,) = open_images(pictures).batches(3)
        assert np.array_equal(stored, read)


def test_data_prepare_writes_a_store(pictures: Path, pgbench: Callable[..., Any]) -> None:
    out = pictures.parent / "store"
    made = pgbench("data", "prepare", "folder", "--from", pictures, "--out", out)
    fingerprint = json.loads((out / "dataset.json").read_text())["fingerprint"]["8"]
    assert (made.code, made.err) == (0, "")
    assert made.out == f"{out}: 1 images of 8x8\nfingerprint {fingerprint}\n"


def test_data_list_names_the_built_in_sets(pgbench: Callable[..., Any]) -> None:
    listed = pgbench("data", "list")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["portraits", "scenes", "kept"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["nope"], "there is no data set 'nope'; take portraits, scenes or folder"),
        (["folder"], "folder needs --from"),
        (["folder", "--from", ".", "--resolution", "8"], "leave --resolution out"),
        (["folder", "--from", "/nowhere"], "/nowhere is no folder"),
        (["scenes", "--from", "."], "scenes is drawn, not read; leave --from out"),
        (["scenes", "--resolution", "33", "--max-images", "1"], "resolution 33 is not available"),
        (["scenes", "--max-images", "0"], "0 is not in the range x>=1"),
        (["scenes", "--resolution", "x"], "'x' is not a valid integer"),
    ],
)
def test_data_prepare_refuses(
    tmp_path: Path, pgbench: Callable[..., Any], options: list[str], why: str
) -> None:
    ended = pgbench("data", "prepare", *options, "--out", tmp_path / "store")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert why in ended.err
    assert not (tmp_path / "store").exists()


def test_data_prepare_never_overwrites(tmp_path: Path, pgbench: Callable[..., Any]) -> None:
    ended = pgbench("data", "prepare", "scenes", "--out", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "exists already; choose another --out" in ended.err
