"""Folders and zips of pictures, whatever lies in them, and StyleGAN's labels."""

import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench.data import ImageStore
from pgbench.metrics import open_images
from pgbench.pictures_folder import open_folder, store_name
from pgbench.prepare import Pictures, build_pictures

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
    return build_pictures(pictures.parent / "store", open_folder(pictures, **options))


def images(made: Pictures) -> NDArray[np.uint8]:
    return np.stack([made.read(i) for i in range(made.draft.num_images)])


@contextmanager
def refusal(why: str) -> Iterator[None]:
    """One sentence with these words."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        yield
    message = str(caught.value)
    assert why in message
    assert message.isprintable()
    assert "skip-broken" not in message


def refused(pictures: Path, why: str, **options: Any) -> None:
    with refusal(why):
        prepared(pictures, **options)
    assert not (pictures.parent / "store").exists()


def png(pixels: NDArray[np.uint8] = PIXELS) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def png_claiming(side: int) -> bytes:
    """A PNG of 10,000 bytes of pixels that claims to be side x side."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b"")
    parts = [(struct.pack(">I", len(data)), kind + data) for kind, data in chunks]
    framed = [size + body + struct.pack(">I", zlib.crc32(body)) for size, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


class TestFolder:
    def test_pixels_in_the_order_of_names(self, pictures: Path) -> None:
        (pictures / "b").mkdir()
        drawn = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8)
        for name, image in zip(("z.bmp", "b/c.PNG", "b/d.webp"), drawn, strict=True):
            Image.fromarray(image).save(pictures / name, lossless=True)
        store = prepared(pictures)
        expected = np.stack([PIXELS, drawn[1], drawn[2], drawn[0]]).transpose(0, 3, 1, 2)
        assert np.array_equal(store.level(8)[:], expected)
        info = store.info
        assert (info.name, info.source, info.num_images) == ("pictures", "folder pictures", 4)
        assert (info.crop, info.mirror, info.labels) == ("none", False, None)

    def test_what_is_asked_for_is_in_the_draft(self, pictures: Path) -> None:
        draft = open_folder(pictures, name="mine", mirror=True).draft
        assert (draft.name, draft.mirror, draft.resolution) == ("mine", True, 8)

    def test_max_images_takes_the_first(self, pictures: Path) -> None:
        for name in ("b.png", "c.png"):
            Image.fromarray(PIXELS).save(pictures / name)
        (pictures / "d.png").write_bytes(b"never read")
        assert prepared(pictures, max_images=2).info.num_images == 2

    def test_more_than_there_are_takes_all(self, pictures: Path) -> None:
        assert prepared(pictures, max_images=5).info.num_images == 1

    def test_none_are_refused(self, pictures: Path) -> None:
        refused(pictures, "a store holds at least 1 image, not 0", max_images=0)

    @pytest.mark.parametrize(
        ("out", "name"),
        [
            ("Faces!", "faces"),
            ("..x..", "x"),
            ("Ä", "folder"),
            ("a" * 99, "a" * 64),
            ("My Faces.ZIP", "my-faces"),
            ("faces.v2", "faces-v2"),
        ],
    )
    def test_is_named_after_its_folder_safely(self, out: str, name: str) -> None:
        assert store_name(Path(out)) == name

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

    def test_nothing_there(self, pictures: Path) -> None:
        refused(pictures / "nowhere", "nowhere is no folder or zip; give --from")

    def test_neither_folder_nor_zip(self, pictures: Path) -> None:
        refused(pictures / "a.png", "a.png cannot be read as a zip")

    def test_linked_folders_are_not_entered_and_linked_files_are_read(self, pictures: Path) -> None:
        (pictures / "round").symlink_to(pictures)
        (pictures / "b.png").symlink_to(pictures / "a.png")
        assert np.array_equal(*images(open_folder(pictures)))

    def test_a_link_to_itself_is_named(self, pictures: Path) -> None:
        (pictures / "b.png").symlink_to(pictures / "b.png")
        refused(pictures, f"{pictures / 'b.png'} cannot be read")

    @pytest.mark.parametrize("name", ["b\nc.png", "ü.png", "日本.png", b"\xff\xfe.png"])
    def test_any_name_is_read_and_can_be_told(self, pictures: Path, name: str | bytes) -> None:
        path = pictures / os.fsdecode(name)
        path.write_bytes(png())
        assert np.array_equal(*images(open_folder(pictures)))
        path.write_bytes(b"broken")
        refused(pictures, "is not a PNG, JPEG, WebP or BMP image; remove it")

    def test_a_folder_with_any_name_makes_a_store(self, pictures: Path) -> None:
        strange = pictures.rename(pictures.parent / os.fsdecode(b"new\nline\xff"))
        assert prepared(strange).info.name == "new-line"

    def test_reads_the_same_after_pickling(self, pictures: Path) -> None:
        made = open_folder(pictures)
        again = pickle.loads(pickle.dumps(made.read))
        assert np.array_equal(again(0), made.read(0))


class TestSize:
    @pytest.mark.parametrize("size", [(16, 16), (8, 4), (12, 12)])
    def test_one_that_does_not_fit_is_named(self, pictures: Path, size: tuple[int, int]) -> None:
        Image.new("RGB", size).save(pictures / "b.png")
        told = (
            f"{pictures / 'b.png'}: a picture of {size[0]}x{size[1]} pixels does not fit where 8x8"
        )
        refused(pictures, told)

    @pytest.mark.parametrize("size", [(2, 2), (12, 12), (2048, 2048), (8, 4)])
    def test_the_first_picture_must_fit_too(self, pictures: Path, size: tuple[int, int]) -> None:
        Image.new("RGB", size).save(pictures / "a.png")
        told = (
            f"a.png: a picture of {size[0]}x{size[1]} pixels does not fit; pictures must be square"
        )
        refused(pictures, told)

    def test_a_resolution_is_kept_to(self, pictures: Path) -> None:
        assert open_folder(pictures, resolution=8).draft.resolution == 8
        refused(pictures, "a.png: a picture of 8x8 pixels does not fit where 4x4", resolution=4)

    @pytest.mark.parametrize("resolution", [0, 2, 12, 2048, -8])
    def test_an_impossible_resolution(self, pictures: Path, resolution: int) -> None:
        why = f"{resolution} is no resolution of a store; give a power of two from 4 to 1024"
        refused(pictures, why, resolution=resolution)

    def test_resizing_needs_a_resolution(self, pictures: Path) -> None:
        refused(pictures, "give --resolution as well", resize="lanczos")

    def test_pictures_of_any_size_cropped_and_resized(self, pictures: Path) -> None:
        wide = np.zeros((12, 20, 3), np.uint8)
        wide[:, 4:16] = [10, 20, 30]
        Image.fromarray(wide).save(pictures / "b.png")
        made = open_folder(pictures, resolution=4, crop="centre", resize="lanczos")
        assert made.draft.crop == "centre square, lanczos to 4x4"
        assert (made.read(1) == np.array([10, 20, 30])[:, None, None]).all()
        expected = Image.fromarray(PIXELS).resize((4, 4), Image.Resampling.LANCZOS)
        assert np.array_equal(made.read(0), np.asarray(expected).transpose(2, 0, 1))

    def test_box_is_the_mean_of_blocks(self, pictures: Path) -> None:
        made = open_folder(pictures, resolution=4, resize="box")
        blocks = PIXELS.astype(float).reshape(4, 2, 4, 2, 3).mean((1, 3)).transpose(2, 0, 1)
        assert np.array_equal(made.read(0), np.rint(blocks))

    def test_cropped_alone(self, pictures: Path) -> None:
        Image.fromarray(np.concatenate([PIXELS, PIXELS], axis=1)).save(pictures / "b.png")
        made = open_folder(pictures, crop="centre")
        expected = np.concatenate([PIXELS[:, 4:], PIXELS[:, :4]], axis=1).transpose(2, 0, 1)
        assert np.array_equal(made.read(1), expected)

    def test_enlarging_must_be_allowed(self, pictures: Path) -> None:
        options = {"resolution": 16, "resize": "lanczos"}
        refused(pictures, "a.png: a picture of 8x8 pixels is too small for 16x16", **options)
        assert prepared(pictures, allow_upscale=True, **options).info.resolution == 16


class TestBroken:
    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
    def test_a_file_that_is_no_image_is_named(self, pictures: Path, content: bytes) -> None:
        (pictures / "b.png").write_bytes(content)
        refused(pictures, f"{pictures / 'b.png'} ")

    @pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp"])
    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_a_truncated_file_is_named(self, pictures: Path, kind: str, share: float) -> None:
        path = pictures / f"b.{kind}"
        Image.fromarray(PIXELS).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        refused(pictures, f"{path} ")

    def test_a_flipped_byte_is_a_sentence_or_a_picture(self, pictures: Path) -> None:
        path = pictures / "a.png"
        content = path.read_bytes()
        for position in range(0, len(content), 7):
            path.write_bytes(
                content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
            )
            try:
                open_folder(pictures)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017  some flips are harmless

    @pytest.mark.parametrize("side", [12_000, 60_000])
    def test_a_decompression_bomb_is_refused_unread(self, pictures: Path, side: int) -> None:
        (pictures / "b.png").write_bytes(png_claiming(side))
        refused(pictures, "decompression bomb")

    @pytest.mark.parametrize("mode", ["CMYK", "I;16"])
    def test_a_colour_mode_that_would_change_silently_is_refused(
        self, pictures: Path, mode: str
    ) -> None:
        name = "b.jpg" if mode == "CMYK" else "b.png"
        Image.new(mode, (8, 8)).save(pictures / name)
        refused(pictures, f"{pictures / name} has ")

    def test_the_metrics_see_the_same_pixels(self, pictures: Path) -> None:
        image = RNG.integers(0, 256, (8, 8, 4), np.uint8)
        Image.fromarray(image).save(pictures / "b.png")
        Image.fromarray(image[..., 0]).convert("LA").save(pictures / "c.png")
        (read,) = open_images(pictures).batches(3)
        assert np.array_equal(images(open_folder(pictures)), read)


def packed(place: Path, members: dict[str, bytes], **options: Any) -> Path:
    """faces.zip with these members."""
    path = place / "faces.zip"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class TestZip:
    def test_is_what_its_folder_is(self, tmp_path: Path) -> None:
        drawn = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8)
        names = ("b/x.png", "a.png", "b/c.png")
        contents = {name: png(image) for name, image in zip(names, drawn, strict=True)}
        noise = {"__MACOSX/._a.png": b"?", "readme.txt": b"?"}
        made = open_folder(packed(tmp_path, contents | noise))
        assert np.array_equal(images(made), drawn[[1, 2, 0]].transpose(0, 3, 1, 2))
        assert (made.draft.name, made.draft.source) == ("faces", "zip faces.zip")

    def test_its_store_is_built_in_processes(self, tmp_path: Path) -> None:
        drawn = RNG.integers(0, 256, (300, 4, 4, 3), np.uint8)
        zipped = packed(tmp_path, {f"{i:03}.png": png(image) for i, image in enumerate(drawn)})
        store = build_pictures(tmp_path / "store", open_folder(zipped))
        assert np.array_equal(store.level(4)[:], drawn.transpose(0, 3, 1, 2))

    def test_another_zip_in_its_place_is_read_anew(self, tmp_path: Path) -> None:
        first = open_folder(packed(tmp_path, {"a.png": png()})).read(0)
        second = open_folder(packed(tmp_path, {"a.png": png(255 - PIXELS), "b.png": png()})).read(0)
        assert np.array_equal(first, 255 - second)

    @pytest.mark.parametrize(
        "name", ["/a.png", "../a.png", "b/../../a.png", "..\\a.png", "C:\\a.png"]
    )
    def test_a_member_that_leaves_it_is_refused(self, tmp_path: Path, name: str) -> None:
        with refusal("leaves the archive"):
            open_folder(packed(tmp_path, {name: png()}))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("again", ["b/a.png", "b\\a.png", "./b/a.png"])
    def test_two_members_of_one_name_are_refused(self, tmp_path: Path, again: str) -> None:
        path = packed(tmp_path, {"b/a.png": png()})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(again, png())
        with refusal("faces.zip holds 'b/a.png' more than once"):
            open_folder(path)

    def test_a_member_that_unpacks_to_too_much_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "faces.zip"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a.png", "w") as member,
        ):
            for _ in range(257):
                member.write(bytes(2**20))
        assert path.stat().st_size < 2**20
        with refusal(f"{2**20 * 257} bytes are too many for one image; remove it"):
            open_folder(path)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
    def test_a_truncated_zip(self, tmp_path: Path, share: float) -> None:
        path = packed(tmp_path, {"a.png": png()})
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with refusal("faces.zip cannot be read as a zip"):
            open_folder(path)

    def test_no_pictures(self, tmp_path: Path) -> None:
        with refusal("faces.zip holds no pictures"):
            open_folder(packed(tmp_path, {"readme.txt": b"?"}))

    def test_a_damaged_member_is_named(self, tmp_path: Path) -> None:
        path = packed(tmp_path, {"a.png": png(), "b.png": b"?" * 99})
        path.write_bytes(path.read_bytes().replace(b"?" * 99, b"!" * 99))
        with refusal("faces.zip/b.png cannot be read from the zip"):
            images(open_folder(path))


def labelled(place: Path, labels: Any, *, zipped: bool = False) -> Path:
    """a.png, b/c.png and b/d.png with a dataset.json."""
    text = labels if isinstance(labels, bytes) else json.dumps({"labels": labels}).encode()
    contents = {name: png() for name in ("a.png", "b/c.png", "b/d.png")} | {"dataset.json": text}
    if zipped:
        return packed(place, contents)
    for name, content in contents.items():
        (place / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "faces" / name).write_bytes(content)
    return place / "faces"


@pytest.mark.parametrize("zipped", [False, True])
class TestLabels:
    def test_numbers_in_the_order_of_the_files(self, tmp_path: Path, zipped: bool) -> None:
        path = labelled(tmp_path, [["b/d.png", 7], ["a.png", 0], ["b\\c.png", 3]], zipped=zipped)
        labels = open_folder(path).labels
        assert labels is not None
        assert labels.dtype == np.int64
        assert labels.tolist() == [0, 3, 7]

    def test_vectors(self, tmp_path: Path, zipped: bool) -> None:
        entries = [["b/c.png", [0, 1]], ["b/d.png", [0.5, 2.5]], ["a.png", [1.0, 0.0]]]
        labels = open_folder(labelled(tmp_path, entries, zipped=zipped), max_images=2).labels
        assert labels is not None
        assert labels.dtype == np.float32
        assert labels.tolist() == [[1, 0], [0, 1]]

    def test_they_are_kept_in_the_store(self, tmp_path: Path, zipped: bool) -> None:
        path = labelled(tmp_path, [["a.png", 5], ["b/c.png", 4], ["b/d.png", 3]], zipped=zipped)
        store = build_pictures(tmp_path / "store", open_folder(path))
        assert store.info.labels == "labels.npy"
        assert np.load(store.path / "labels.npy", allow_pickle=False).tolist() == [5, 4, 3]

    @pytest.mark.parametrize("text", [b'{"labels": null}', b"{}"])
    def test_none(self, tmp_path: Path, zipped: bool, text: bytes) -> None:
        assert open_folder(labelled(tmp_path, text, zipped=zipped)).labels is None

    @pytest.mark.parametrize(
        ("labels", "why"),
        [
            ([["a.png", 1], ["b/c.png", 1]], "dataset.json has no label of 'b/d.png'"),
            ([["a.png", 1], ["a.png", 1]], "has two labels of 'a.png'"),
            ([["e\n.png", 1]], "has a label of 'e\\n.png', which is not there"),
            ([], "has no label of 'a.png'"),
            ("labels.npy", "has no list of labels; expected is"),
            ([["a.png"]], "has the label ['a.png']; expected is"),
            ([[1, "a.png"]], "has the label [1, 'a.png']; expected is"),
            ({"a.png": 1}, "has no list of labels"),
            (b'["a.png"]', "has no list of labels"),
            (b"", "is not valid JSON"),
            (b"{'labels': null}", "is not valid JSON"),
            (b"\xff\xfe\x00", "is not valid JSON"),
            (b"[" * 100_000, "is not valid JSON"),
        ],
    )
    def test_a_wrong_file(self, tmp_path: Path, zipped: bool, labels: Any, why: str) -> None:
        with refusal(why):
            open_folder(labelled(tmp_path, labels, zipped=zipped))

    @pytest.mark.parametrize(
        "given",
        [
            [1, 2, 3.5],
            [1, 2, True],
            [1, 2, "3"],
            [1, 2, None],
            [1, 2, 2**63],
            [1, 2, [3]],
            [[1], [2], [3, 4]],
            [[1], [2], ["3"]],
            [[1], [2], [[3]]],
            [[1], [2], [float("nan")]],
            [[1], [2], [float("inf")]],
            [[1], [2], [10**400]],
            [[1], [2], [1e300]],
        ],
    )
    def test_wrong_labels(self, tmp_path: Path, zipped: bool, given: list[Any]) -> None:
        entries = [list(pair) for pair in zip(("a.png", "b/c.png", "b/d.png"), given, strict=True)]
        with refusal("has labels of several kinds; give every picture a whole number, or"):
            open_folder(labelled(tmp_path, entries, zipped=zipped))
