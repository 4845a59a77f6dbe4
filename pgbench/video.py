"""Videos: walks through the latents of G_ema, as in the paper's own video, and training films.

A walk draws a latent N(0, 1) for every frame, blurs the latents over time by a Gaussian that is
periodic, so that the video loops, and scales each to the root mean square 1 that latents N(0, 1)
have. Every cell of the grid walks on its own. A frame of a cell depends on the snapshot, the seed,
the cell and the walk's length and blur; not on the grid, nor on how images are batched.

Images are made in groups of 16, as in `sampling`. A group holds 16 moments of one cell, but not
where batch normalisation mixes the images of a group (rows a-c): moments that resemble each other
would be normalised to a contrast that sampling never shows. There a group is one moment of the
cells 16 g ... 16 g + 15, which are independent as 16 seeds are; those beyond the grid are made,
and left out. As all 16 move smoothly so do their statistics: nothing flickers, and the loop closes.
"""

import contextlib
import itertools
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngImageFile
from pydantic import ValidationError
from pydantic_core import from_json
from scipy.ndimage import gaussian_filter1d

from pgbench.atomic import sync_folder
from pgbench.config import RunConfig
from pgbench.data import Images
from pgbench.jsonlines import read_lines
from pgbench.networks import Generator
from pgbench.results import RunFolder
from pgbench.sampling import GROUP, to_uint8
from pgbench.schedule import training_point

Latents = NDArray[np.float32]

_WALK = 7  # purpose of the random stream
_MAX_IMAGES = 10**6  # nobody asks for as many in earnest
_MAX_EDGE = 4096  # pixels; many players show no larger H.264
_WIDTH = 512  # small images are enlarged until a video is about this wide
_SHEET_NAME = re.compile(r"fakes-reals-(\d{6,}\.\d)\.png")
_MAX_SHEET_PIXELS = 2**28
_HOLD_SEC = 2  # how much longer the last sheet of a film is shown
_STRIP, _FONT_SIZE, _MARGIN = 32, 18, 8  # pixels of the title below a sheet

_COLOURS = (  # named in the file, or players guess them by the size
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+lanczos,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)


def frame_count(seconds: float, fps: int) -> int:
    """How many frames last `seconds`; ValueError when none or a million."""
    if not 0.5 < seconds * fps < _MAX_IMAGES:  # also what is no number
        raise ValueError(
            f"a video of {seconds} s at {fps} frames/s is none; give --seconds like 10"
        )
    return round(seconds * fps)


def walk(seed: int, cell: int, *, frames: int, latent_size: int, sigma: float) -> Latents:
    """The latents of one cell, float32 (frames, latent_size) of RMS 1 each; `sigma` in frames."""
    if not 0 < sigma <= frames:
        raise ValueError(
            f"a blur over {sigma:g} frames is none for a video of {frames}; "
            "give --smoothing in seconds, above 0 and at most --seconds"
        )
    rng = np.random.default_rng([seed, _WALK, cell])
    blurred = gaussian_filter1d(
        rng.standard_normal((frames, latent_size)), sigma, axis=0, mode="wrap"
    )
    rms = np.sqrt(np.mean(blurred**2, axis=1, keepdims=True))
    return np.asarray(blurred / rms, dtype=np.float32)


def cell_edge(resolution: int, columns: int, rows: int, size: int | None = None) -> int:
    """Pixels of a cell: `size`, or a whole multiple of the images' that makes a video to look at.

    ValueError when the video would be larger than players show.
    """
    edge = size or resolution * max(1, _WIDTH // (columns * resolution))
    if max(columns, rows) * edge > _MAX_EDGE:
        raise ValueError(
            f"{columns}x{rows} cells of {edge} pixels make a video beyond {_MAX_EDGE} pixels; "
            f"give --size {_MAX_EDGE // max(columns, rows)} or less, or a smaller --grid"
        )
    return edge


def walk_frames(
    generator: Generator,
    grid: tuple[int, int],
    *,
    lod: float,
    frames: int,
    sigma: float,
    seed: int,
    edge: int,
) -> Iterator[Images]:
    """The frames of a walk, HWC uint8, a grid of (columns, rows) cells of `edge` pixels.

    Cells are enlarged by nearest neighbour where `edge` is a multiple of their size, else resized
    by Lanczos. The last frame is followed by the first.
    """
    columns, rows = grid
    cells = columns * rows
    if not 0 < cells * frames <= _MAX_IMAGES:
        raise ValueError(f"{columns}x{rows} cells and {frames} frames are too many; take fewer")
    hidden = -cells % GROUP if generator.config.batch_norm else 0
    size = generator.config.latent_size
    walks = np.stack(
        [
            walk(seed, cell, frames=frames, latent_size=size, sigma=sigma)
            for cell in range(cells + hidden)
        ]
    )
    groups = _by_moment if generator.config.batch_norm else _by_cell
    moments = itertools.chain.from_iterable(groups(generator, walks, lod=lod, edge=edge))
    for moment in itertools.islice(moments, frames):
        yield _tiled(moment[:cells], columns)


def _by_moment(
    generator: Generator, walks: Latents, *, lod: float, edge: int
) -> Iterator[list[Images]]:
    """The images of all cells, one moment after the other, in groups of cells."""
    for moment in walks.transpose(1, 0, 2):
        groups = np.split(moment, range(GROUP, len(moment), GROUP))
        yield [np.concatenate([_images(generator, z, lod=lod, edge=edge) for z in groups])]


def _by_cell(
    generator: Generator, walks: Latents, *, lod: float, edge: int
) -> Iterator[list[Images]]:
    """The images of all cells, 16 moments after the other; the last ones may begin anew."""
    missing = -walks.shape[1] % GROUP
    whole = np.pad(walks, [(0, 0), (0, missing), (0, 0)], mode="wrap")
    for first in range(0, whole.shape[1], GROUP):
        groups = whole[:, first : first + GROUP]
        cells = np.stack([_images(generator, z, lod=lod, edge=edge) for z in groups])
        yield list(cells.swapaxes(0, 1))


@torch.no_grad()
def _images(generator: Generator, z: Latents, *, lod: float, edge: int) -> Images:
    """NHWC uint8 of `edge` pixels."""
    device = next(generator.parameters()).device
    images = to_uint8(generator(torch.tensor(z, device=device), lod))
    small = images.permute(0, 2, 3, 1).cpu().numpy()
    nearest = edge % small.shape[1] == 0
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.stack([np.asarray(Image.fromarray(i).resize((edge, edge), how)) for i in small])


def _tiled(cells: Images, columns: int) -> Images:
    """NHWC -> one HWC picture, row by row."""
    count, edge, _, channels = cells.shape
    grid = cells.reshape(count // columns, columns, edge, edge, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, columns * edge, channels)


def film(folder: RunFolder, *, seconds: float, fps: int) -> tuple[int, Iterator[Images]]:
    """How many frames the film of a run has, and those, HWC uint8: its sample sheets in order.

    All are shown equally long, `seconds` in all or a frame each, the last one two seconds more.
    """
    named = [(_SHEET_NAME.fullmatch(path.name), path) for path in folder.samples.glob("*")]
    sheets = sorted((float(match[1]), path) for match, path in named if match)
    if not sheets:
        raise ValueError(f"{folder.path} has no sample sheets; let it train, or take another run")
    each = max(1, round(frame_count(seconds, fps) / len(sheets)))
    hold = _HOLD_SEC * fps
    return each * len(sheets) + hold, _film_frames(folder, sheets, each=each, hold=hold)


def _film_frames(
    folder: RunFolder, sheets: list[tuple[float, Path]], *, each: int, hold: int
) -> Iterator[Images]:
    resolutions = _resolutions(folder, [kimg for kimg, _ in sheets])
    size = None
    for (kimg, path), resolution in zip(sheets, resolutions, strict=True):
        sheet = _read_sheet(path)
        size = size or sheet.size
        if sheet.size != size:
            raise ValueError(
                f"{path} has {sheet.width}x{sheet.height} pixels and the sheets before it "
                f"{size[0]}x{size[1]}; move away those that do not belong to the run"
            )
        frame = _titled(sheet, f"kimg {kimg:.1f}    {resolution}x{resolution}")
        yield from itertools.repeat(frame, each)
    yield from itertools.repeat(frame, hold)


def _resolutions(folder: RunFolder, clocks: list[float]) -> list[int]:
    """What resolution G made at these kimg, which names of sheets round to a tenth."""
    try:
        config = RunConfig.model_validate(folder.config())
    except ValidationError as error:
        raise ValueError(
            f"{folder.config_path} is of another version of pgbench; make the film with that one"
        ) from error
    exact = {round(kimg, 1): kimg for kimg in _tick_clocks(folder)}
    points = [
        training_point(
            round(exact.get(kimg, kimg) * 1000),
            config.schedule,
            resolution=config.data.resolution,
            rampup_kimg=config.optimiser.rampup_kimg,
        )
        for kimg in clocks
    ]
    return [point.resolution for point in points]


def _tick_clocks(folder: RunFolder) -> Iterator[float]:
    for line in read_lines(folder.stats_path):
        with contextlib.suppress(ValueError, TypeError, KeyError):  # torn by a kill
            yield float(from_json(line)["kimg"])


def _read_sheet(path: Path) -> Image.Image:
    """An RGB picture, reduced where it is larger than players show."""
    try:
        with PngImageFile(path) as sheet:
            if sheet.width * sheet.height > _MAX_SHEET_PIXELS:
                raise ValueError(f"{sheet.width}x{sheet.height} pixels")
            picture = sheet.convert("RGB")
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no sound PNG ({why}); move it away") from error
    return picture.reduce(math.ceil(max(picture.size) / _MAX_EDGE))


def _titled(sheet: Image.Image, title: str) -> Images:
    """The sheet with a line of text below it, HWC."""
    frame = Image.new("RGB", (sheet.width, sheet.height + _STRIP), "white")
    frame.paste(sheet)
    place = (_MARGIN, sheet.height + _STRIP // 2)
    font = ImageFont.load_default(_FONT_SIZE)
    ImageDraw.Draw(frame).text(place, title, fill="black", font=font, anchor="lm")
    return np.asarray(frame)


def write_video(path: Path, frames: Iterable[Images], *, fps: int) -> None:
    """Put the frames, HWC uint8 of one size, in place of `path` as MP4: H.264, yuv420p.

    An odd height or width is made even by repeating the last row or column. ValueError when the
    name is no MP4's, when `path` is no file, and when ffmpeg is missing or fails.
    """
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path} is no name of an MP4; give one that ends in .mp4")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} exists and is no file; choose another --out")
    ffmpeg, even = _ffmpeg(), map(_even, frames)
    first = next(even, None)
    if first is None:
        raise ValueError(f"{path} would have no frames; give some")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
    ) as folder:
        fresh = Path(folder) / "video.mp4"
        _encode(ffmpeg, fresh, first, even, fps=fps)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    sync_folder(path.parent)


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except ImportError as error:
        raise ValueError(
            "videos are written with imageio-ffmpeg; install it: pip install 'pgbench[video]'"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            "imageio-ffmpeg finds no ffmpeg; name one in the variable IMAGEIO_FFMPEG_EXE"
        ) from error


def _even(frame: Images) -> Images:
    height, width, _ = frame.shape
    return np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")


def _encode(ffmpeg: str, path: Path, first: Images, rest: Iterator[Images], *, fps: int) -> None:
    height, width, _ = first.shape
    command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    command += ["-vf", _COLOURS, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"]
    command += ["-movflags", "+faststart", f"file:{path}"]
    with tempfile.TemporaryFile() as said:
        code = _fed(command, itertools.chain([first], rest), said)
        if code != 0 or not path.exists():
            said.seek(0)
            words = said.read().decode(errors="replace").split("\n")
            why = next((line.strip() for line in words if line.strip()), f"exit code {code}")
            raise ValueError(f"ffmpeg could not write the video ({why}); see to that and try again")


def _fed(command: list[str], frames: Iterable[Images], said: IO[bytes]) -> int:
    """Run ffmpeg on the frames: its exit code; killed when making the frames fails."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            process_group=0,  # Ctrl-C is for this process, which then ends ffmpeg
        )
    except OSError as error:
        raise ValueError(
            f"{command[0]} does not start ({error.strerror}); "
            "name an ffmpeg in the variable IMAGEIO_FFMPEG_EXE"
        ) from error
    assert process.stdin is not None
    try:
        _feed(process.stdin, frames)
        return process.wait()
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _feed(pipe: IO[bytes], frames: Iterable[Images]) -> None:
    """Write until the frames or ffmpeg end; of the latter its exit code and words say why."""
    for frame in frames:
        try:
            pipe.write(frame.tobytes())
        except BrokenPipeError:
            return
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
