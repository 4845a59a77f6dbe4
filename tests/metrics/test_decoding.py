"""A file becomes the right RGB pixels, or one sentence says why not, whatever its bytes are."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pgbench.metrics.decoding import decode_image
from pgbench.metrics.images import open_images

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
SMOOTH = np.linspace(0, 255, 16 * 20 * 3).reshape(16, 20, 3).astype(np.uint8)


def encoded(image, kind="png", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        stream, kind, **options
    )
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, depth=8):
    """A PNG that declares a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def with_chunk(png, kind, data):
    """A PNG with one more chunk before its pixels."""
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk(kind, data) + png[place:]


def decoded(data):
    return decode_image(data, "x").transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("png", {}), ("bmp", {}), ("webp", {"lossless": True}), ("png", {"bits": 8})],
)
def test_lossless_formats_give_the_pixels(kind, options):
    found = decode_image(encoded(PIXELS, kind, **options), "x")
    np.testing.assert_array_equal(found, PIXELS.transpose(2, 0, 1))
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_lossy_formats_come_close(kind):
    flat = np.full((16, 20, 3), (90, 120, 200), np.uint8)
    assert np.abs(decoded(encoded(flat, kind)).astype(int) - flat).max() <= 4


def test_grey_palette_and_bilevel_become_rgb():
    grey = Image.fromarray(PIXELS[..., 0])
    np.testing.assert_array_equal(decoded(encoded(grey)), PIXELS[..., [0, 0, 0]])
    palette = Image.new("P", (20, 16), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    np.testing.assert_array_equal(decoded(encoded(palette))[3, 3], [10, 20, 30])
    assert np.all(decoded(encoded(Image.new("1", (20, 16), 1))) == 255)


def test_transparency_is_composited_over_white():
    rgba = Image.new("RGBA", (16, 16), (0, 100, 200, 0))
    rgba.paste((0, 100, 200, 255), (0, 0, 8, 16))
    for kind, options in (("png", {}), ("webp", {"lossless": True})):
        found = decoded(encoded(rgba, kind, **options))
        np.testing.assert_array_equal(found[0, 0], [0, 100, 200])
        np.testing.assert_array_equal(found[15, 15], [255, 255, 255])
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert np.all(decoded(encoded(palette, transparency=0)) == 255)
    assert np.all(decoded(encoded(palette, transparency=b"\0\xff")) == 255)
    colour = Image.new("RGB", (16, 16), (1, 2, 3))
    assert np.all(decoded(encoded(colour, transparency=(1, 2, 3))) == 255)


def test_orientation_is_not_applied_and_damaged_exif_is_silent():
    whole = Image.new("RGB", (20, 16)).getexif()
    whole[0x0112] = 6  # turned by 90 degrees
    damaged = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\xff"
    for exif in (whole.tobytes(), damaged):
        assert decoded(encoded(SMOOTH, "jpeg", exif=exif)).shape == (16, 20, 3)


def test_an_animation_counts_as_its_first_frame():
    frames = [Image.fromarray(PIXELS), Image.new("RGB", (20, 16))]
    for kind, options in (("png", {}), ("webp", {"lossless": True})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decoded(data), PIXELS)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"acTL", bytes(8)),  # an animation of no frames
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(2**24))),
        (b"zTXt", b"x\0\0" + zlib.compress(bytes(2**24))),
        (b"tEXt", b"\xff\0\n\0"),
        (b"sRGB", b""),
        (b"abCd", b"private"),
    ],
)
def test_chunks_that_make_no_pixels_do_not_matter(kind, data):
    png = with_chunk(encoded(PIXELS), kind, data)
    np.testing.assert_array_equal(decoded(png), PIXELS)


def test_a_text_of_any_size_does_not_matter():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("note", "x" * 2**21, zip=True)
    np.testing.assert_array_equal(decoded(encoded(PIXELS, pnginfo=texts)), PIXELS)


PNG = encoded(PIXELS)
IDAT = PNG.index(b"IDAT")
BROKEN = {
    "no image": (b"this is no image", "is not a PNG, JPEG, WebP or BMP image"),
    "empty": (b"", "is not a PNG, JPEG, WebP or BMP image"),
    "gif": (encoded(Image.new("L", (16, 16)), "gif"), "is not a PNG, JPEG, WebP or BMP image"),
    "tiff": (encoded(PIXELS, "tiff"), "is not a PNG, JPEG, WebP or BMP image"),
    "PNG cut": (PNG[:300], "is truncated"),
    "PNG without its end": (PNG[:-1], "is truncated"),
    "PNG with a flipped bit": (
        PNG[: IDAT + 90] + bytes([PNG[IDAT + 90] ^ 1]) + PNG[IDAT + 91 :],
        "is damaged, the checksum of its IDAT is wrong",
    ),
    "PNG without pixels": (png_header(20, 16), "cannot be decoded"),
    "PNG without size": (png_header(0, 16), "cannot be decoded"),
    "JPEG cut": (encoded(SMOOTH, "jpeg")[:-30], "cannot be decoded.* truncated"),
    "WebP cut": (encoded(SMOOTH, "webp")[:-30], "cannot be decoded"),
    "BMP cut": (encoded(SMOOTH, "bmp")[:-30], "cannot be decoded.* truncated"),
    "16-bit grey": (
        encoded(Image.fromarray(np.zeros((16, 20), np.uint16))),
        "has 16 bits per channel, convert it to 8 bits",
    ),
    "16-bit RGB": (png_header(20, 16, depth=16), "has 16 bits per channel"),
    "CMYK": (encoded(Image.new("CMYK", (20, 16)), "jpeg"), "has the colour mode CMYK, convert it"),
    "bomb": (png_header(30_000, 30_000), "decompression bomb"),
    "bomb Pillow warns about": (png_header(10_000, 10_000), "decompression bomb"),
    "bomb Pillow lets pass": (png_header(8_192, 8_193), "decompression bomb"),
    "WebP bomb": (
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0",
        "decompression bomb|cannot be decoded",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_image_is_refused_in_one_sentence(case):
    data, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as caught:
        decode_image(data, "some.png")
    assert str(caught.value).startswith("some.png ")
    assert str(caught.value).endswith("; leave such files out with --skip-broken.")
    assert str(caught.value).isprintable()


SEEDS = [
    encoded(image, kind, **options)
    for kind, options in (
        ("png", {}),
        ("png", {"interlace": 1}),
        ("jpeg", {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x1a\x01\x05\0\x01\0\0\0\x1a\0\0\0"}),
        ("jpeg", {"progressive": True}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("bmp", {}),
    )
    for image in (PIXELS, SMOOTH)
] + [
    encoded(Image.fromarray(SMOOTH).convert(mode), kind)
    for mode, kind in (("RGBA", "png"), ("RGBA", "webp"), ("P", "png"), ("P", "bmp"), ("L", "jpeg"))
]


@st.composite
def damaged_files(draw):
    """A valid file with a few bytes replaced, put in or cut out, and perhaps its end cut off."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)) | st.integers(0, 60))
        gone = draw(st.integers(0, 4) | st.integers(0, 400))
        data = data[:place] + draw(st.binary(max_size=6)) + data[place + gone :]
    return data[: draw(st.none() | st.integers(0, len(data)))]


@st.composite
def resealed_pngs(draw):
    """A PNG whose damaged chunks have right checksums again."""
    data, place, parts = PNG, 8, []
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        body = data[place + 8 : end - 4]
        if draw(st.integers(0, 3)) == 0:
            cut = draw(st.integers(0, len(body)))
            body = body[:cut] + draw(st.binary(max_size=6)) + body[cut + draw(st.integers(0, 4)) :]
        kinds = st.sampled_from((b"IDAT", b"PLTE", b"tRNS", b"acTL", b"IHDR", b"fdAT"))
        kind = draw(kinds) if draw(st.integers(0, 5)) == 0 else data[place + 4 : place + 8]
        parts.append(chunk(kind, body))
        place = end
    return PNG[:8] + b"".join(parts)


def pixels_or_sentence(folder):
    try:
        return next(open_images(folder).batches(1))
    except ValueError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(data=damaged_files() | resealed_pngs() | st.binary(max_size=80))
def test_any_bytes_give_pixels_or_one_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "x.png").write_bytes(data)
    found = pixels_or_sentence(folder)
    if isinstance(found, str):
        assert found.startswith(f"{folder}/x.png ")
        assert found.isprintable()
    else:
        assert (found.shape[:2], found.dtype) == ((1, 3), np.uint8)
