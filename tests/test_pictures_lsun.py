"""LSUN from an LMDB as published, or from pictures; what cannot be read is left out and named."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench import pictures_lsun
from pgbench.pictures_lsun import (
    CATEGORIES,
    OBJECTS,
    SCENES,
    LmdbEntries,
    Readable,
    is_mirrored,
    open_lsun,
)
from pgbench.prepare import build_pictures


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    return file.getvalue()


def flat(value: int, height: int = 16, width: int = 24) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def key(number: int) -> bytes:
    """Forty hexadecimal digits as published, in the order of the numbers."""
    return f"{number:040x}".encode()


def database(path: Path, values: dict[bytes, bytes]) -> Path:
    """An LMDB as published: a folder with data.mdb and lock.mdb."""
    with lmdb.open(str(path), map_size=2**24) as env, env.begin(write=True) as transaction:
        for name, value in values.items():
            transaction.put(name, value)
    return path


@contextmanager
def refusal(why: str) -> Iterator[None]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        yield
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ten_scenes_and_twenty_objects() -> None:
    assert (len(set(SCENES)), len(set(OBJECTS)), len(set(CATEGORIES))) == (10, 20, 30)
    assert [name for name in CATEGORIES if not is_mirrored(name)] == ["bedroom", "dog"]


def test_an_unknown_category_lists_the_known_ones(tmp_path: Path) -> None:
    with refusal("LSUN has no category 'bathroom'; its scenes are bedroom, bridge, "):
        open_lsun(tmp_path, "bathroom")


def test_an_impossible_resolution_is_refused_at_once(tmp_path: Path) -> None:
    with refusal("100 is no resolution of a store"):
        open_lsun(tmp_path, "cat", resolution=100)


class TestLmdb:
    def test_values_in_the_order_of_keys_as_centre_squares(self, tmp_path: Path) -> None:
        """A thousand images, so that stores and their keys span blocks; some are broken."""
        values = {key(i): encoded(flat(i % 251, 4, 6)) for i in range(600)}
        for number in (0, 255, 256, 599):
            values[key(number)] = [b"", b"no picture", values[key(1)][:-3]][number % 3]
        wide = np.zeros((5, 8, 3), np.uint8)
        wide[:, 1:6] = 50
        values[key(2)] = encoded(wide)
        path = database(tmp_path / "bedroom_train_lmdb", values)
        made = open_lsun(path, "bedroom", resolution=4)
        draft = made.draft
        assert (draft.name, draft.num_images, draft.mirror) == ("lsun-bedroom", 596, False)
        assert draft.source == "LSUN bedroom, LMDB bedroom_train_lmdb"
        assert draft.crop == "centre square, lanczos to 4x4"
        assert made.note == ""
        assert made.skipped == tuple(key(i).decode() for i in (0, 255, 256, 599))
        store = build_pictures(tmp_path / "store", made)
        kept = [i for i in range(600) if i not in (0, 255, 256, 599)]
        colours = [50 if i == 2 else i % 251 for i in kept]
        level = store.level(4)[:]
        assert level[:, 0, 2, 2].tolist() == colours
        assert (level == level[:, :1, :1, :1]).all()
        assert store.info.num_skipped == 4

    def test_the_paths_pixels_at_256(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (256, 341, 3), np.uint8)
        tall = np.random.default_rng(1).integers(0, 256, (401, 300, 3), np.uint8)
        path = database(tmp_path / "cat", {b"a": encoded(pixels), b"b": encoded(tall)})
        made = open_lsun(path, "cat")
        assert np.array_equal(made.read(0), pixels[:, 42:298].transpose(2, 0, 1))
        square = Image.fromarray(tall[50:350]).resize((256, 256), Image.Resampling.LANCZOS)
        assert np.array_equal(made.read(1), np.asarray(square).transpose(2, 0, 1))
        assert (made.draft.mirror, made.note) == (True, "2 of the expected 100,000 pictures")

    def test_the_first_readable_ones_are_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = {key(i): encoded(flat(i)) for i in range(8)} | {key(1): b"", key(6): b""}
        path = database(tmp_path / "cat", values)
        monkeypatch.setattr(pictures_lsun, "_FIRST", 5)
        for most, taken, skipped in ((None, 5, 1), (1, 1, 0), (99, 6, 2)):
            made = open_lsun(path, "cat", resolution=16, max_images=most)
            assert (made.draft.num_images, len(made.skipped)) == (taken, skipped)
        assert made.read(5)[0, 0, 0] == 7

    def test_a_small_image_is_refused_unless_allowed(self, tmp_path: Path) -> None:
        path = database(
            tmp_path / "cat", {b"large": encoded(flat(1)), b"small": encoded(flat(2, 9))}
        )
        with refusal(f"{path}/small: a picture of 24x9 pixels is too small for 16x16"):
            open_lsun(path, "cat", resolution=16)
        made = open_lsun(path, "cat", resolution=16, allow_upscale=True)
        assert (made.read(1) == 2).all()

    def test_a_key_that_is_no_text_can_be_told(self, tmp_path: Path) -> None:
        path = database(tmp_path / "cat", {b"\xff\n": b"", b"a": encoded(flat(1))})
        (skipped,) = open_lsun(path, "cat", resolution=16).skipped
        assert skipped.isprintable()
        assert "ff" in skipped

    def test_nothing_readable(self, tmp_path: Path) -> None:
        path = database(tmp_path / "cat", {b"a": b"", b"b": b"?"})
        with refusal(f"{path} holds no picture that can be read"):
            open_lsun(path, "cat")

    def test_no_entries(self, tmp_path: Path) -> None:
        with refusal("is an LMDB without entries"):
            open_lsun(database(tmp_path / "cat", {}), "cat")

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = database(tmp_path / "cat", {b"a": b""})
        monkeypatch.setitem(sys.modules, "lmdb", None)
        with refusal('pip install "pgbench[lsun]"'):
            open_lsun(path, "cat")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The data.mdb of forty entries of noise."""
    noise = np.random.default_rng(0)
    values = {key(i): noise.bytes(3000 + 50 * i) for i in range(40)}
    return (database(tmp_path_factory.mktemp("sound") / "cat", values) / "data.mdb").read_bytes()


def placed(folder: Path, content: bytes) -> Path:
    (folder / "data.mdb").write_bytes(content)
    return folder


class TestDamaged:
    @pytest.mark.parametrize("size", [0, 1, 4096, 8191, 8192, 20_000, -4096, -1])
    def test_truncated(self, tmp_path: Path, content: bytes, size: int) -> None:
        """Touching what is missing would end the process."""
        with refusal("is truncated"):
            open_lsun(placed(tmp_path, content[:size]), "cat")

    def test_no_lmdb(self, tmp_path: Path) -> None:
        with refusal("cannot be read as an LMDB ("):
            open_lsun(placed(tmp_path, bytes(10_000)), "cat")

    def test_flipped_bytes_end_in_a_sentence(
        self, tmp_path: Path, content: bytes, program: Callable[..., Any]
    ) -> None:
        """In a process of its own: no damage to keys may end it."""
        rng = random.Random(0)
        for number in range(20):
            damaged = bytearray(content)
            for _ in range(200):
                damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
            (tmp_path / str(number)).mkdir()
            placed(tmp_path / str(number), bytes(damaged))
        text = (
            "import sys; from pathlib import Path\n"
            "from pgbench.pictures_lsun import LmdbEntries\n"
            "for number in range(20):\n"
            "    try: LmdbEntries.open(Path(sys.argv[1]) / str(number))\n"
            "    except ValueError as error: assert str(number) in str(error)\n"
            "print('alive')"
        )
        ended = program(text, tmp_path)
        assert (ended.code, ended.out) == (0, "alive\n"), ended.err

    def test_an_entry_that_ends_the_process_is_a_sentence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = database(tmp_path / "cat", {b"a": b"?"})
        monkeypatch.setattr(pictures_lsun.LmdbEntries, "open", lambda _: Deadly())
        with refusal("a process that read the pictures was killed"):
            open_lsun(path, "cat")


class Deadly:
    """An entry whose reading crashes, as a damaged map of memory does."""

    def __len__(self) -> int:
        return 1

    def label(self, index: int, /) -> str:
        return "deadly"

    def load(self, index: int, /) -> bytes:
        os._exit(1)


def test_pictures_in_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.webp").write_bytes(encoded(flat(number)))
    (tmp_path / "1.webp").write_bytes(b"broken")
    made = open_lsun(tmp_path, "church_outdoor", resolution=16)
    assert made.skipped == ("1.webp",)
    assert [made.read(i)[0, 0, 0] for i in range(2)] == [0, 2]
    assert made.draft.source == f"LSUN church_outdoor, folder {tmp_path.name}"


@pytest.mark.parametrize("broken", [[], [0], [9], [0, 1, 2], [3, 4, 7], list(range(9))])
def test_readable_entries_keep_their_order(broken: list[int]) -> None:
    class Numbers:
        def __len__(self) -> int:
            return 10

        def label(self, index: int, /) -> str:
            return str(index)

        def load(self, index: int, /) -> bytes:
            return bytes([index])

    entries = Readable.of(Numbers(), broken)
    kept = [position for position in range(10) if position not in broken]
    assert [entries.load(i)[0] for i in range(len(entries))] == kept
    assert [entries.label(i) for i in range(len(entries))] == [str(k) for k in kept]


def test_a_database_is_opened_again_after_a_change(tmp_path: Path) -> None:
    first = LmdbEntries.open(database(tmp_path / "cat", {b"a": b"1"}))
    assert first.load(0) == b"1"
    pictures_lsun._environment.cache_clear()  # a process may have a file open but once
    with lmdb.open(str(tmp_path / "cat")) as env, env.begin(write=True) as transaction:
        transaction.delete(b"a")
        transaction.put(b"c", b"2")
    assert LmdbEntries.open(tmp_path / "cat").load(0) == b"2"


def test_a_database_that_shrinks_meanwhile_is_a_sentence(tmp_path: Path) -> None:
    entries = LmdbEntries.open(database(tmp_path / "cat", {b"a": b"1", b"b": b"2"}))
    with lmdb.open(str(tmp_path / "cat")) as env, env.begin(write=True) as transaction:
        transaction.delete(b"b")
    with refusal("changed while it was read; try again"):
        entries.load(1)
