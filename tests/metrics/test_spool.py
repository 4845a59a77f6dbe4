"""A spooled set gives the same pixels, read once, and leaves nothing behind."""

import errno
import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.metrics.images import ImageSet, as_image_set
from pgbench.metrics.spool import spooled

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 6), np.uint8)


class Source:
    """An expensive set that counts how often each image is read."""

    def __init__(self, parallel=False):
        self.reads = np.zeros(len(PIXELS), int)
        self.images = ImageSet("x", len(PIXELS), (3, 8, 6), self.read, parallel=parallel)

    def read(self, indices):
        self.reads[indices] += 1
        return PIXELS[indices]


def everything(images, size=7):
    return np.concatenate(list(images.batches(size)))


@pytest.fixture(params=["memory", "file"])
def place(request, monkeypatch):
    if request.param == "file":
        monkeypatch.setattr("pgbench.metrics.spool._MEMORY_BYTES", 0)
    return request.param


@pytest.mark.parametrize("parallel", [False, True])
def test_every_image_is_read_once(place, parallel):
    source = Source(parallel)
    with spooled(source.images) as images:
        for size in (7, 1, 40):
            np.testing.assert_array_equal(everything(images, size), PIXELS)
        assert images.fingerprint() == as_image_set(PIXELS).fingerprint()
        assert images.cheap
    assert np.all(source.reads == 1)


@settings(max_examples=50, deadline=None)
@given(
    order=st.lists(st.lists(st.integers(0, len(PIXELS) - 1), max_size=9), max_size=9),
    memory=st.booleans(),
)
def test_any_order_gives_the_right_images(order, memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgbench.metrics.spool._MEMORY_BYTES", 2**20 if memory else 0)
        with spooled(Source().images) as images:
            for indices in order:
                np.testing.assert_array_equal(images.read(np.array(indices, int)), PIXELS[indices])


def test_threads_may_read_it(place):
    source = Source()
    asked = np.random.default_rng(1).integers(0, len(PIXELS), (64, 50))
    with spooled(source.images) as images, ThreadPoolExecutor(8) as pool:
        for indices, found in zip(asked, pool.map(images.read, asked), strict=True):
            np.testing.assert_array_equal(found, PIXELS[indices])


def test_a_set_that_is_cheap_or_too_large_is_given_back():
    cheap, source = as_image_set(PIXELS), Source()
    with spooled(cheap) as images:
        assert images is cheap
    with spooled(source.images, limit_bytes=PIXELS.nbytes - 1) as images:
        assert images is source.images
    with spooled(source.images, limit_bytes=PIXELS.nbytes) as images:
        assert images is not source.images


@pytest.mark.parametrize("trouble", ["full", "no folder"])
def test_without_room_the_set_is_given_back(monkeypatch, trouble):
    monkeypatch.setattr("pgbench.metrics.spool._MEMORY_BYTES", 0)
    if trouble == "full":
        usage = SimpleNamespace(free=2 * PIXELS.nbytes - 1)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    else:

        def refuse():
            raise FileNotFoundError("no usable temporary directory")

        monkeypatch.setattr("tempfile.gettempdir", refuse)
    source = Source()
    with spooled(source.images) as images:
        assert images is source.images


class SmallDisk(io.BytesIO):
    """A file on a disk with room for 1000 bytes, which takes what fits, as a system call does."""

    def write(self, data):
        fits = bytes(data)[: max(0, 1000 - self.tell())]
        if not fits:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(fits)


def test_a_disk_that_fills_up_only_costs_time(monkeypatch):
    source = Source()
    monkeypatch.setattr("pgbench.metrics.spool._MEMORY_BYTES", 0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda buffering: SmallDisk())
    with spooled(source.images) as images:
        for _ in range(3):
            np.testing.assert_array_equal(everything(images), PIXELS)
    assert list(source.reads) == [1] * 6 + [3] * 34  # 6 images of 144 bytes fit in 1000


def test_no_file_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("pgbench.metrics.spool._MEMORY_BYTES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with spooled(Source().images) as images:
        everything(images)
        assert list(tmp_path.iterdir()) == []  # it has no name
    with pytest.raises(ValueError, match="closed file"):
        everything(images)
