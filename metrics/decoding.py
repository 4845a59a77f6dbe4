"""One encoded image file to uint8 RGB pixels, which the metrics of the paper's section 5 take.

Grey is replicated to RGB, a palette becomes RGB, transparency is composited over white. 16 bits per
channel, CMYK and other colour spaces are refused, never converted silently. EXIF orientation is not
applied, and an animation counts as its first frame.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_MAX_PIXELS = 2**26  # 8192 x 8192


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
    ValueError
        The file is no image, damaged, too large, or of a kind that 8-bit RGB cannot hold.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10":
        raise ValueError(f"{label} has 16 bits per channel; convert it to 8 bits.")
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width}x{height} pixels")
            rgb = None if image.mode not in _RGB_FROM else _RGB_FROM[image.mode](image)
            mode = image.mode
    except UnidentifiedImageError as error:
        raise ValueError(f"{label} is not a PNG, JPEG, WebP or BMP image.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{label} is refused as a decompression bomb ({error}).") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise ValueError(f"{label} cannot be decoded, it may be truncated ({error}).") from error
    if rgb is None:
        raise ValueError(f"{label} has the colour mode {mode}; convert it to 8-bit RGB.")
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba)
    return image.convert("RGB")


_RGB_FROM = dict.fromkeys(("1", "L", "P", "RGB", "LA", "PA", "RGBA"), _opaque)
