"""Walks have the latents they should, films every sheet, and an MP4 is there whole or not."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pgbench.checkpoint import load_snapshot
from pgbench.config import GeneratorConfig
from pgbench.networks import Generator
from pgbench.results import RunFolder
from pgbench.sampling import to_uint8
from pgbench.video import cell_edge, film, frame_count, walk, walk_frames, write_video

Command = Callable[..., Any]
Pixels = NDArray[np.uint8]

SMALL = {"resolution": 16, "latent_size": 8, "fmap_base": 64, "fmap_max": 16}
KINDS = {
    "linear": GeneratorConfig(**SMALL),
    "batch norm": GeneratorConfig(
        **SMALL,
        activation="relu",
        normalize_latents=False,
        batch_norm=True,
        pixelnorm=False,
        output="tanh",
        equalized_lr=False,
    ),
}


def refused(ended: Any, why: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err
    assert ended.err.count("\n") == 1


def make(kind: str) -> Generator:
    """A generator with contrast, so that images differ in many levels."""
    generator = Generator(KINDS[kind], torch.Generator().manual_seed(1))
    with torch.no_grad():
        generator.to_rgb[-1].weight.mul_(0.5)
    return generator


def read_back(path: Path) -> tuple[dict[str, Any], Pixels]:
    """What a video says of itself, and its frames as (frames, H, W, 3)."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    decode = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(decode, capture_output=True, check=True)
    said = re.search(
        r"Video: (\w+) .*?(yuv\w+)\(.*? (\d+)x(\d+)[, ].*? (\d+) fps", str(done.stderr)
    )
    assert said is not None
    width, height = int(said[3]), int(said[4])
    about = {"codec": said[1], "pixels": said[2], "size": (width, height), "fps": int(said[5])}
    return about, np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def smooth_frames(count: int, height: int = 48, width: int = 64) -> list[Pixels]:
    """Frames that H.264 keeps well: gradients whose colour turns."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    turned = np.linspace(0, 1, count)
    return [
        np.stack([200 * x, 200 * y, 200 * t * np.ones_like(x)], axis=2).astype(np.uint8)
        for t in turned
    ]


class TestWalk:
    def test_every_latent_has_the_length_of_a_normal_one(self) -> None:
        z = walk(0, 0, frames=60, latent_size=512, sigma=15)
        assert (z.shape, z.dtype) == ((60, 512), np.float32)
        np.testing.assert_allclose(np.mean(z.astype(np.float64) ** 2, axis=1), 1, rtol=1e-6)

    @pytest.mark.parametrize(("frames", "sigma"), [(40, 3.0), (40, 0.4), (7, 5.0), (1, 1.0)])
    def test_is_noise_blurred_around_the_clock(self, frames: int, sigma: float) -> None:
        noise = np.random.default_rng([5, 7, 2]).standard_normal((frames, 8))
        reach = int(4 * sigma + 0.5)
        weights = {d: np.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)}
        expected = np.zeros((frames, 8))
        for t in range(frames):
            for d, weight in weights.items():
                expected[t] += weight * noise[(t + d) % frames]
        expected /= np.sqrt((expected**2).mean(axis=1, keepdims=True))
        z = walk(5, 2, frames=frames, latent_size=8, sigma=sigma)
        np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("apart", [1, 4, 8, 16, 50])
    def test_moments_resemble_each_other_as_blurred_noise_does(self, apart: int) -> None:
        """Noise blurred with sigma has the autocorrelation exp(-t^2 / (4 sigma^2))."""
        size, sigma = 2**14, 8.0
        z = walk(1, 0, frames=100, latent_size=size, sigma=sigma).astype(np.float64)
        alike = np.mean(z * np.roll(z, apart, axis=0), axis=1)  # the end beside the beginning, too
        expected = np.exp(-(apart**2) / (4 * sigma**2))
        assert np.abs(alike - expected).max() < 6 / np.sqrt(size)

    def test_differs_by_seed_and_cell_alone(self) -> None:
        made = {
            key: walk(*key, frames=5, latent_size=4096, sigma=1)
            for key in [(0, 0), (0, 1), (1, 0), (1, 1)]
        }
        for key, z in made.items():
            assert np.array_equal(z, walk(*key, frames=5, latent_size=4096, sigma=1))
            for other, others in made.items():
                alike = np.abs(np.mean(z * others, axis=1)).max()
                assert key == other or alike < 6 / np.sqrt(4096)

    @pytest.mark.parametrize("sigma", [0.0, -1.0, 5.1, float("nan"), float("inf")])
    def test_needs_a_blur_that_fits(self, sigma: float) -> None:
        with pytest.raises(ValueError, match="give --smoothing in seconds, above 0"):
            walk(0, 0, frames=5, latent_size=8, sigma=sigma)


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"), [(10, 30, 300), (0.51, 1, 1), (1 / 3, 24, 8), (2.5, 1, 2)]
)
def test_frames_of_a_length(seconds: float, fps: int, frames: int) -> None:
    assert frame_count(seconds, fps) == frames


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01, 1e9, float("nan"), float("inf")])
def test_a_length_without_frames_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="frames/s is none; give --seconds like 10"):
        frame_count(seconds, 30)


class TestCellEdge:
    @pytest.mark.parametrize(
        ("resolution", "columns", "rows", "size", "edge"),
        [
            (32, 4, 3, None, 128),
            (128, 4, 3, None, 128),
            (1024, 4, 3, None, 1024),
            (16, 1, 1, None, 512),
            (64, 5, 1, None, 64),
            (64, 5, 1, 33, 33),
        ],
    )
    def test_makes_a_video_to_look_at(
        self, resolution: int, columns: int, rows: int, size: int | None, edge: int
    ) -> None:
        assert cell_edge(resolution, columns, rows, size) == edge

    @pytest.mark.parametrize(
        ("columns", "rows", "size"), [(5, 1, None), (1, 5, None), (1, 1, 4097)]
    )
    def test_players_show_no_more(self, columns: int, rows: int, size: int | None) -> None:
        with pytest.raises(ValueError, match=r"beyond 4096 pixels; give --size (819|4096) or less"):
            cell_edge(1024, columns, rows, size)


def frames_of(generator: Generator, grid: tuple[int, int], **changes: Any) -> Pixels:
    options = {"lod": 0.0, "frames": 20, "sigma": 3.0, "seed": 4, "edge": 16} | changes
    return np.stack(list(walk_frames(generator, grid, **options)))


@pytest.mark.parametrize("kind", KINDS)
class TestFrames:
    def test_a_cell_depends_on_no_grid(self, kind: str) -> None:
        generator = make(kind)
        alone = frames_of(generator, (1, 1))
        wide = frames_of(generator, (6, 3))  # more than one group of 16
        assert alone.shape == (20, 16, 16, 3)
        assert wide.shape == (20, 48, 96, 3)
        assert np.array_equal(wide[:, :16, :16], alone)
        low = frames_of(generator, (2, 9))
        for cell in range(18):
            row, column = divmod(cell, 6)
            one = wide[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            row, column = divmod(cell, 2)
            two = low[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            assert np.array_equal(one, two)

    def test_the_loop_closes(self, kind: str) -> None:
        frames = frames_of(make(kind), (2, 1), frames=60, sigma=12.0).astype(np.float64)
        steps = np.abs(frames - np.roll(frames, 1, axis=0)).mean(axis=(1, 2, 3))
        far = np.abs(frames - np.roll(frames, 30, axis=0)).mean()
        assert steps[0] <= 2 * np.median(steps)  # from the last frame to the first
        assert steps.max() < far / 2

    @pytest.mark.parametrize("lod", [0.0, 0.5, 1.0])
    def test_images_are_what_the_generator_makes(self, kind: str, lod: float) -> None:
        generator = make(kind)
        walks = np.stack([walk(4, c, frames=20, latent_size=8, sigma=3.0) for c in range(16)])
        frames = frames_of(generator, (2, 1), lod=lod)
        for t, cell in [(0, 0), (15, 1), (19, 1)]:
            moment = walks[:, t] if kind == "batch norm" else walks[cell, t : t + 1]
            with torch.no_grad():
                made = to_uint8(generator(torch.from_numpy(moment), lod)).numpy()
            image = made[cell if kind == "batch norm" else 0].transpose(1, 2, 0)
            factor = 16 // len(image)
            large = image.repeat(factor, axis=0).repeat(factor, axis=1).astype(int)
            shown = frames[t, :, 16 * cell : 16 * cell + 16]
            assert np.abs(shown - large).max() <= 1  # float32 ties

    def test_other_sizes(self, kind: str) -> None:
        generator = make(kind)
        plain = frames_of(generator, (2, 1), frames=1, sigma=1.0)[0]
        doubled = frames_of(generator, (2, 1), frames=1, sigma=1.0, edge=32)[0]
        assert np.array_equal(doubled, plain.repeat(2, axis=0).repeat(2, axis=1))
        odd = frames_of(generator, (2, 1), frames=1, sigma=1.0, edge=9)[0]
        first = Image.fromarray(plain[:, :16]).resize((9, 9), Image.Resampling.LANCZOS)
        assert np.array_equal(odd[:, :9], np.asarray(first))

    def test_too_many_images_are_refused(self, kind: str) -> None:
        with pytest.raises(ValueError, match="999x999 cells and 20 frames are too many"):
            frames_of(make(kind), (999, 999))


class TestWriting:
    def test_is_read_back_as_it_was(self, tmp_path: Path) -> None:
        frames = smooth_frames(25)
        write_video(tmp_path / "new" / "a.mp4", frames, fps=24)
        about, found = read_back(tmp_path / "new" / "a.mp4")
        assert (about["codec"], about["pixels"], about["fps"]) == ("h264", "yuv420p", 24)
        assert about["size"] == (64, 48)
        assert found.shape == (25, 48, 64, 3)
        assert np.abs(found - np.stack(frames).astype(int)).mean() < 2
        assert np.abs(found.mean((1, 2)) - np.stack(frames).mean((1, 2))).max() < 2  # no tint

    def test_sizes_are_made_even(self, tmp_path: Path) -> None:
        frames = smooth_frames(3, height=47, width=63)
        write_video(tmp_path / "a.mp4", frames, fps=10)
        about, found = read_back(tmp_path / "a.mp4")
        assert about["size"] == (64, 48)
        assert np.abs(found[:, :47, :63] - np.stack(frames).astype(int)).mean() < 2
        assert np.abs(found[:, -1, :63] - frames[0][-1].astype(int))[..., :2].mean() < 4

    def test_replaces_a_file_whole_and_leaves_nothing_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_text("before")
        write_video(path, smooth_frames(2), fps=10)
        assert read_back(path)[1].shape[0] == 2
        assert os.listdir(tmp_path) == ["a.mp4"]
        umask = os.umask(0)
        os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("a damaged sheet")])
    def test_what_stops_it_leaves_what_was(
        self, tmp_path: Path, error: BaseException | type[BaseException]
    ) -> None:
        def stopped() -> Iterator[Pixels]:
            yield from smooth_frames(2)
            raise error

        path = tmp_path / "a.mp4"
        path.write_text("before")
        with pytest.raises((KeyboardInterrupt, ValueError)):
            write_video(path, stopped(), fps=10)
        assert path.read_text() == "before"
        assert os.listdir(tmp_path) == ["a.mp4"]

    def test_ctrl_c_ends_ffmpeg_and_leaves_nothing(self, tmp_path: Path) -> None:
        text = (
            "import itertools, signal, sys, numpy as np\n"
            "from pathlib import Path\n"
            "from pgbench.video import write_video\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a background
            "frame = np.zeros((64, 64, 3), np.uint8)\n"
            "def frames():\n"
            "    for i in itertools.count():\n"
            "        if i == 9: print('going', flush=True)\n"
            "        yield frame\n"
            "write_video(Path(sys.argv[1]) / 'a.mp4', frames(), fps=10)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", text, tmp_path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "going\n"
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.stderr.read().endswith("KeyboardInterrupt\n")
        assert os.listdir(tmp_path) == []

    def test_refuses_what_is_no_place_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(ValueError, match=r"folder\.mp4 exists and is no file; choose another"):
            write_video(tmp_path / "folder.mp4", smooth_frames(1), fps=10)
        with pytest.raises(ValueError, match=r"a\.gif is no name of an MP4; give one that ends in"):
            write_video(tmp_path / "new" / "a.gif", smooth_frames(1), fps=10)
        with pytest.raises(ValueError, match="would have no frames"):
            write_video(tmp_path / "new" / "a.mp4", [], fps=10)
        assert os.listdir(tmp_path) == ["folder.mp4"]


class TestFfmpeg:
    @pytest.fixture
    def stands_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Let a shell script be ffmpeg."""

        def be(script: str) -> None:
            path = tmp_path / "ffmpeg"
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))

        return be

    @pytest.mark.parametrize(
        ("script", "why"),
        [
            ("cat >/dev/null; echo 'no room' >&2; echo more >&2; exit 1", r"\(no room\)"),
            ("echo 'Unknown encoder' >&2; exit 8", r"\(Unknown encoder\)"),
            ("exit 3", r"\(exit code 3\)"),
            ("exit 0", r"\(exit code 0\)"),
        ],
    )
    def test_what_it_says_is_told_in_one_sentence(
        self, tmp_path: Path, stands_in: Callable[[str], None], script: str, why: str
    ) -> None:
        stands_in(script)
        big = smooth_frames(4, height=480, width=640)  # more than a pipe holds
        with pytest.raises(ValueError, match=f"ffmpeg could not write the video {why}; see to"):
            write_video(tmp_path / "out" / "a.mp4", big, fps=10)
        assert os.listdir(tmp_path / "out") == []

    def test_that_does_not_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
        with pytest.raises(ValueError, match=r"none does not start \(No such file or directory\)"):
            write_video(tmp_path / "a.mp4", smooth_frames(1), fps=10)
        assert os.listdir(tmp_path) == []

    def test_that_is_not_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere() -> str:
            raise RuntimeError("No ffmpeg exe could be found.")

        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", nowhere)
        with pytest.raises(ValueError, match="name one in the variable IMAGEIO_FFMPEG_EXE"):
            write_video(tmp_path / "a.mp4", smooth_frames(1), fps=10)

    def test_the_package_is_an_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Any, pgbench: Command
    ) -> None:
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        ended = pgbench("video", finished.run, "--out", tmp_path / "a.mp4")
        refused(ended, "install it: pip install 'pgbench[video]'")
        assert os.listdir(tmp_path) == []


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written on pictures."""
    texts: list[str] = []
    write = ImageDraw.ImageDraw.text

    def watched(draw: ImageDraw.ImageDraw, place: Any, text: str, **rest: Any) -> None:
        texts.append(text)
        write(draw, place, text, **rest)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", watched)
    return texts


class TestFilm:
    @pytest.fixture
    def folder(self, copied: Any) -> RunFolder:
        """A run with five sheets of one colour each."""
        folder = RunFolder.at(copied.run)
        shutil.rmtree(folder.samples)
        folder.samples.mkdir()
        for step, kimg in enumerate([0.0, 0.1, 0.2, 0.3, 12.0]):
            sheet = Image.new("RGB", (300, 200), (40 * step, 100, 200))
            sheet.save(folder.samples / f"fakes-reals-{kimg:08.1f}.png")
        (folder.samples / ".fakes-reals-000009.0.png.x.tmp").touch()
        return folder

    def test_shows_every_sheet_equally_long_and_the_last_one_longer(
        self, folder: RunFolder, said: list[str]
    ) -> None:
        count, frames = film(folder, seconds=2, fps=10)
        shown = list(frames)
        assert count == len(shown) == 5 * 4 + 2 * 10
        assert {frame.shape for frame in shown} == {(232, 300, 3)}
        reds = [int(frame[100, 150, 0]) for frame in shown]
        assert reds == [0] * 4 + [40] * 4 + [80] * 4 + [120] * 4 + [160] * 24
        # 64 + 64 images a phase, ticks at 64, 128, 192, 256, ...: a fade starts after 64 and 192
        assert said == [
            "kimg 0.0    4x4",
            "kimg 0.1    8x8",
            "kimg 0.2    8x8",
            "kimg 0.3    16x16",
            "kimg 12.0    16x16",
        ]
        strips = [frame[200:] for frame in shown]
        assert all((strip == 0).any() and (strip == 255).any() for strip in strips)
        assert len({strip.tobytes() for strip in strips}) == 5

    def test_a_short_one_shows_every_sheet_once(self, folder: RunFolder) -> None:
        count, frames = film(folder, seconds=0.2, fps=10)
        assert count == len(list(frames)) == 5 + 20

    def test_names_a_damaged_sheet(self, folder: RunFolder) -> None:
        path = folder.samples / "fakes-reals-000000.2.png"
        whole = path.read_bytes()
        for damaged in (b"", b"no PNG", whole[:60], whole[:50] + b"\0\0" + whole[52:]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"000000\.2\.png is no sound PNG \(.+\); move it"):
                list(film(folder, seconds=1, fps=10)[1])

    def test_names_a_sheet_of_another_size(self, folder: RunFolder) -> None:
        Image.new("RGB", (300, 201)).save(folder.samples / "fakes-reals-000000.2.png")
        with pytest.raises(ValueError, match=r"0\.2\.png has 300x201 pixels .* before it 300x200;"):
            list(film(folder, seconds=1, fps=10)[1])

    def test_refuses_a_bomb_and_reduces_what_is_large(self, folder: RunFolder) -> None:
        for path in folder.samples.glob("fakes*"):
            path.unlink()
        path = folder.samples / "fakes-reals-000000.2.png"
        Image.new("L", (5000, 100)).save(path)
        assert next(film(folder, seconds=1, fps=10)[1]).shape == (82, 2500, 3)
        Image.new("1", (2**15, 2**13 + 1)).save(path)
        with pytest.raises(ValueError, match=r"is no sound PNG \(32768x8193 pixels\)"):
            next(film(folder, seconds=1, fps=10)[1])

    def test_needs_sheets_and_a_run_of_this_version(self, folder: RunFolder) -> None:
        folder.config_path.write_text("{}")
        with pytest.raises(
            ValueError, match="is of another version of pgbench; make the film with"
        ):
            list(film(folder, seconds=1, fps=10)[1])
        shutil.rmtree(folder.samples)
        with pytest.raises(ValueError, match="has no sample sheets"):
            film(folder, seconds=1, fps=10)

    def test_torn_statistics_do_not_matter(self, folder: RunFolder, said: list[str]) -> None:
        folder.stats_path.write_text('{"kimg": 0.06\n[]\n{"kimg": 0.144}\n')
        list(film(folder, seconds=1, fps=10)[1])
        assert said[1] == "kimg 0.1    8x8"


class TestCommand:
    OPTIONS = ("--seconds", 1, "--fps", 10, "--smoothing", 0.3)

    def test_walks_through_the_last_snapshot_of_a_run(
        self, finished: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        ended = pgbench("video", finished.run, "--out", tmp_path / "a.mp4", *self.OPTIONS)
        assert (ended.code, ended.out, ended.err) == (0, f"{tmp_path / 'a.mp4'}\n", "")
        about, found = read_back(tmp_path / "a.mp4")
        assert (about["size"], about["fps"], len(found)) == ((512, 384), 10, 10)
        last = sorted(finished.run.glob("snapshots/*"))[-1]
        generator, info = load_snapshot(last, torch.device("cpu"))
        z = np.stack([walk(0, cell, frames=10, latent_size=512, sigma=3)[0] for cell in range(12)])
        images = to_uint8(generator(torch.from_numpy(z), info.lod)).numpy()
        for cell, image in enumerate(images):
            row, column = divmod(cell, 4)
            shown = found[0, 128 * row : 128 * row + 128, 128 * column : 128 * column + 128]
            large = image.transpose(1, 2, 0).repeat(8, axis=0).repeat(8, axis=1)
            # brightness alone is at full resolution: compare means of cells and of grey
            assert np.abs(shown.mean((0, 1)) - large.mean((0, 1))).max() < 3
            assert np.abs(shown.mean(2) - large.mean(2)).mean() < 6

    def test_of_a_snapshot_and_a_run_are_the_same(
        self, finished: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        last = sorted(finished.run.glob("snapshots/*"))[-1]
        options = (*self.OPTIONS, "--grid", "1x2", "--seed", 3, "--size", 17)
        for source, name in [(finished.run, "a.mp4"), (last, "b.mp4")]:
            assert pgbench("video", source, "--out", tmp_path / name, *options).code == 0
        one, two = (read_back(tmp_path / name)[1] for name in ("a.mp4", "b.mp4"))
        assert one.shape == (10, 34, 18, 3)
        assert np.array_equal(one, two)

    def test_films_a_run(self, finished: Any, pgbench: Command, tmp_path: Path) -> None:
        out = tmp_path / "film.mp4"
        ended = pgbench("video", finished.run, "--film", "--out", out, "--seconds", 1, "--fps", 7)
        assert (ended.code, ended.out, ended.err) == (0, f"{out}\n", "")
        sheets = sorted((finished.run / "samples").glob("*.png"))
        about, found = read_back(out)
        assert len(sheets) == 5
        assert len(found) == 5 + 14
        with Image.open(sheets[-1]) as picture:
            last = np.asarray(picture)
        assert about["size"] == (last.shape[1], last.shape[0] + 32)
        grey = found[-1, : len(last)].mean(2) - last.mean(2)
        assert np.abs(grey).mean() < 6

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["--grid", "4"], "--grid '4' is no grid; write columns and rows, such as 4x3"),
            (["--grid", "0x3"], "--grid '0x3' is no grid"),
            (["--grid", "²x3"], "is no grid"),
            (["--grid", "999x9"], "999x9 cells of 16 pixels make a video beyond 4096 pixels"),
            (["--seconds", "nan"], "a video of nan s at 30 frames/s is none"),
            (["--smoothing", "0"], "a blur over 0 frames is none for a video of 300"),
            (["--smoothing", "11"], "a blur over 330 frames is none"),
            (["--size", "5000"], "give --size 1024 or less, or a smaller --grid"),
            (["--fps", "0"], "--fps"),
            (["--film", "--seed", "1"], "--seed is of a walk; give it without --film."),
        ],
    )
    def test_refuses_what_is_no_video(
        self, finished: Any, pgbench: Command, tmp_path: Path, arguments: list[str], why: str
    ) -> None:
        refused(pgbench("video", finished.run, "--out", tmp_path / "x" / "a.mp4", *arguments), why)
        assert os.listdir(tmp_path) == []

    def test_refuses_what_it_cannot_sample(
        self, copied: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        out = ("--out", tmp_path / "a.mp4")
        refused(pgbench("video", tmp_path / "none", *out), "there is no run or snapshot at")
        refused(pgbench("video", tmp_path, *out), "is no run folder")
        refused(pgbench("video", tmp_path, "--film", *out), "is no run folder")
        refused(pgbench("video", copied.run / "config.json", *out), "is no snapshot of pgbench")
        for path in copied.run.glob("snapshots/*"):
            path.unlink()
        refused(pgbench("video", copied.run, *out), "has no snapshot yet; let it train further")
