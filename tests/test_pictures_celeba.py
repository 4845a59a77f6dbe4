"""CelebA's crop and attributes from any place where people keep it, and CelebA-HQ."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench.pictures_celeba import open_celeba, open_celeba_hq
from pgbench.prepare import build_pictures

COUNT = 4
FACES = np.random.default_rng(0).integers(0, 256, (COUNT, 218, 178, 3), np.uint8)
CROPS = FACES[:, 57:185, 25:153].transpose(0, 3, 1, 2)
ATTRIBUTES = np.random.default_rng(1).choice([-1, 1], (COUNT, 40))


def attribute_list(names: list[str], values: NDArray[np.int64] = ATTRIBUTES) -> str:
    """As published: the count, forty names, then a line a picture."""
    head = [str(len(names)), " ".join(f"Attribute_{k}" for k in range(40)) + " "]
    rows = [
        f"{n} " + " ".join(f"{v:2d}" for v in row) for n, row in zip(names, values, strict=True)
    ]
    return "\n".join([*head, *rows]) + "\n"


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """celeba/img_align_celeba/000001.png to 000004.png."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for number, face in enumerate(FACES, 1):
        Image.fromarray(face).save(folder / f"{number:06}.png")
    return folder.parent


def zipped(celeba: Path, prefix: str = "img_align_celeba/") -> Path:
    path = celeba / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((celeba / "img_align_celeba").iterdir()):
            archive.write(file, prefix + file.name)
    return path


@contextmanager
def refusal(why: str) -> Iterator[None]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        yield
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["folder", "parent", "zip", "flat zip"])
def test_every_place_gives_the_same_pixels(celeba: Path, place: str) -> None:
    path = {
        "folder": lambda: celeba / "img_align_celeba",
        "parent": lambda: celeba,
        "zip": lambda: zipped(celeba),
        "flat zip": lambda: zipped(celeba, prefix=""),
    }[place]()
    made = open_celeba(path)
    assert np.array_equal([made.read(i) for i in range(COUNT)], CROPS)
    draft = made.draft
    assert (draft.name, draft.resolution, draft.num_images, draft.mirror) == (
        "celeba",
        128,
        4,
        True,
    )
    assert draft.crop == "128x128 centred at x 89, y 121 of the aligned 178x218"
    kind = "zip img_align_celeba.zip" if "zip" in place else "folder img_align_celeba"
    assert draft.source == f"CelebA, {kind} of png files"
    assert made.note == "4 of the expected 202,599 pictures"
    assert made.labels is None


def test_the_store_has_it_all(celeba: Path) -> None:
    text = attribute_list([f"{k:06}.jpg" for k in range(1, COUNT + 1)])
    (celeba / "list_attr_celeba.txt").write_text(text)
    store = build_pictures(celeba / "store", open_celeba(celeba))
    assert np.array_equal(store.level(128)[:], CROPS)
    labels = np.load(store.path / "labels.npy", allow_pickle=False)
    assert labels.dtype == np.int8
    assert np.array_equal(labels, ATTRIBUTES)
    assert store.info.note == "4 of the expected 202,599 pictures"


def test_jpegs_are_read_and_said(celeba: Path) -> None:
    for file in (celeba / "img_align_celeba").iterdir():
        Image.open(file).save(file.with_suffix(".jpg"), quality=95)
        file.unlink()
    made = open_celeba(celeba)
    assert made.draft.source == "CelebA, folder img_align_celeba of jpg files"
    assert made.read(0).shape == (3, 128, 128)


def test_max_images_takes_the_first_and_says_so(celeba: Path) -> None:
    made = open_celeba(celeba, max_images=3)
    assert (made.draft.num_images, made.note) == (3, "3 of the expected 202,599 pictures")


def test_another_size_names_the_file(celeba: Path) -> None:
    file = celeba / "img_align_celeba" / "000001.png"
    Image.new("RGB", (178, 200)).save(file)
    with refusal(f"{file}: a picture of 178x200 pixels is no aligned CelebA picture"):
        open_celeba(celeba)


class TestAttributes:
    @pytest.mark.parametrize("place", ["inside", "beside", "above"])
    def test_are_found_and_told_by_name(self, celeba: Path, place: str) -> None:
        folder = celeba / "img_align_celeba"
        at = {"inside": folder, "beside": celeba, "above": celeba.parent}[place]
        names = [f"{k:06}.jpg" for k in (9, 4, 3, 2, 1)]  # in another order, and one too many
        text = attribute_list(names, np.concatenate([ATTRIBUTES[:1], ATTRIBUTES[::-1]]))
        (at / "list_attr_celeba.txt").write_text(text)
        for path in (celeba, folder):
            assert np.array_equal(open_celeba(path, max_images=2).labels, ATTRIBUTES[:2])  # type: ignore[arg-type]

    def test_are_found_beside_a_zip(self, celeba: Path) -> None:
        text = attribute_list([f"{k:06}.jpg" for k in range(1, COUNT + 1)])
        (celeba / "list_attr_celeba.txt").write_text(text)
        assert np.array_equal(open_celeba(zipped(celeba)).labels, ATTRIBUTES)  # type: ignore[arg-type]

    def test_a_picture_that_is_not_listed_is_named(self, celeba: Path) -> None:
        text = attribute_list(["000001.jpg", "000002.jpg", "000004.jpg"], ATTRIBUTES[:3])
        (celeba / "list_attr_celeba.txt").write_text(text)
        with refusal("list_attr_celeba.txt does not name 000003.png"):
            open_celeba(celeba)

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            ("4\n", "5\n", "not 40 names and then 5 lines"),
            ("4\n", "", "invalid literal for int"),
            ("Attribute_39", "", "not 40 names"),
            ("000002.jpg", "000001.jpg", "a file is named twice"),
            ("000002.jpg", "000002.jpg 1", "'000002.jpg' has no 40 values of -1 or 1"),
            ("000002.jpg -1", "000002.jpg  0", "'000002.jpg' has no 40 values of -1 or 1"),
            ("000002.jpg", "\n000002.jpg", "not 40 names and then 4 lines"),
            ("000002.jpg", "00000ü.jpg", "can't decode"),
        ],
    )
    def test_a_damaged_list(self, celeba: Path, old: str, new: str, why: str) -> None:
        values = np.full_like(ATTRIBUTES, -1)
        text = attribute_list([f"{k:06}.jpg" for k in range(1, COUNT + 1)], values)
        assert old in text
        file = celeba / "list_attr_celeba.txt"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        with refusal(f"{file} is no list of CelebA's attributes ("):
            open_celeba(celeba)
        with refusal(why):
            open_celeba(celeba)

    @pytest.mark.parametrize("content", [b"", b"4\n", b"\x00" * 50])
    def test_no_list_at_all(self, celeba: Path, content: bytes) -> None:
        (celeba / "list_attr_celeba.txt").write_bytes(content)
        with refusal("is no list of CelebA's attributes"):
            open_celeba(celeba)


class TestHq:
    def test_finished_pictures(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(2).integers(0, 256, (1024, 1024, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "00000.bmp")
        made = open_celeba_hq(tmp_path)
        draft = made.draft
        assert (draft.name, draft.resolution, draft.mirror) == ("celeba-hq", 1024, True)
        assert draft.source == f"CelebA-HQ, folder {tmp_path.name}"
        assert made.note == "1 of the expected 30,000 pictures"
        assert np.array_equal(made.read(0), pixels.transpose(2, 0, 1))

    def test_another_size_is_named(self, tmp_path: Path) -> None:
        Image.new("RGB", (512, 512)).save(tmp_path / "00000.png")
        with refusal("00000.png: a picture of 512x512 pixels does not fit where 1024x1024"):
            open_celeba_hq(tmp_path)
