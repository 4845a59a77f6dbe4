"""One encoded image file to uint8 RGB pixels, which the metrics of the paper's section 5 take.

Grey is replicated to RGB, a palette becomes RGB, transparency is composited over white. 16 bits per
channel, CMYK and other colour spaces are refused, never converted silently. EXIF orientation is not
applied, and an animation counts as its first frame.

Files are told apart by their first bytes and handed to Pillow's class of that format. Its
`Image.open` and its readers of texts, profiles and EXIF are left out: they warn about damaged files
instead of refusing them, and filters of warnings are not safe with threads.
"""

import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pgbench.metrics.messages import reason

_MAX_PIXELS = 2**26  # 8192 x 8192
_MODES = frozenset({"1", "L", "P", "RGB", "LA", "PA", "RGBA"})
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


class BrokenImageError(ValueError):
    """A file that cannot be used as an image."""

    def __init__(self, label: str, why: str) -> None:
        super().__init__(f"{label} {why}; leave such files out with --skip-broken.")


class _RefusedError(Exception):
    """Why a file is refused, as words that follow its name."""


def decode_image(data: bytes, label: str) -> NDArray[np.uint8]:
    """One encoded image as RGB pixels.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, WebP or BMP file.
    label : str
        Its name, for error messages.

    Returns
    -------
    (3, H, W) uint8, [0, 255]

    Raises
    ------
    BrokenImageError
        A ValueError: the file is no image, damaged, too large, or of a kind that 8-bit RGB cannot
        hold.
    """
    try:
        with _open(data) as image:
            _check(image)
            rgb = _opaque(image)
        bands = [np.frombuffer(rgb.tobytes("raw", band), np.uint8) for band in "RGB"]
        return np.stack(bands).reshape(3, rgb.height, rgb.width)
    except _RefusedError as error:
        raise BrokenImageError(label, str(error)) from None
    except Image.DecompressionBombError as error:
        raise BrokenImageError(label, f"is refused as a decompression bomb ({error})") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        why = f"cannot be decoded, it may be damaged or truncated ({reason(error)})"
        raise BrokenImageError(label, why) from error


def _open(data: bytes) -> ImageFile:
    if data.startswith(_PNG):
        return PngImageFile(BytesIO(_png_of_pixels(data)))
    if data.startswith(b"\xff\xd8\xff"):
        return _Jpeg(BytesIO(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile(BytesIO(data))
    if data.startswith(b"BM"):
        return BmpImageFile(BytesIO(data))
    raise _RefusedError("is not a PNG, JPEG, WebP or BMP image")


def _png_of_pixels(data: bytes) -> bytes:
    """The chunks of a PNG that make its pixels, their checksums verified."""
    kept, place, kind = [_PNG], len(_PNG), b""
    while kind != b"IEND":
        kind = data[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            raise _RefusedError("is truncated")
        if kind in _PNG_CHUNKS:
            if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
                raise _RefusedError(f"is damaged, the checksum of its {kind.decode()} is wrong")
            if kind == b"IHDR" and data[place + 16 : place + 17] == b"\x10":
                raise _RefusedError("has 16 bits per channel, convert it to 8 bits")
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


class _Jpeg(JpegImageFile):
    def getexif(self) -> Image.Exif:
        return Image.Exif()


def _check(image: ImageFile) -> None:
    width, height = image.size
    if width * height > _MAX_PIXELS:
        raise _RefusedError(f"is refused as a decompression bomb ({width}x{height} pixels)")
    if image.mode not in _MODES:
        raise _RefusedError(f"has the colour mode {image.mode}, convert it to 8-bit RGB")


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba)
    return image.convert("RGB")
