"""Images as 8-bit RGB whatever their depth, and every failure an OSError that names the file."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from dho_prompt.data.batches.read_image import read_image, why_unreadable
from dho_prompt.engine import read_image as engines_read_image

GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def reds(path):
    image = read_image(str(path))
    assert image.mode == "RGB" and image.getpixel((3, 0)) == (image.getpixel((3, 0))[0],) * 3
    return np.asarray(image)[..., 0]


def save(path, values, form, **more):
    Image.fromarray(values).save(path, format=form, **more)
    return path


def test_the_engine_reads_with_it():
    assert engines_read_image is read_image


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(tmp_path, form):
    deep = GREYS.astype(np.uint16) * 257
    assert np.array_equal(reds(save(tmp_path / "a", deep, form)), GREYS)
    # dark ones stay dark: the scale is that of the file, not of its brightest pixel
    assert np.array_equal(reds(save(tmp_path / "a", GREYS.astype(np.uint16), form)), np.rint(GREYS / 257))


def test_sixteen_bits_of_either_byte_order_and_of_pgm(tmp_path):
    deep = GREYS.astype(np.uint16) * 257
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + deep.astype(">u2").tobytes())
    assert np.array_equal(reds(tmp_path / "a.pgm"), GREYS)
    big_endian = Image.frombytes("I;16B", (16, 16), deep.astype(">u2").tobytes())
    big_endian.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "I;16B"
    assert np.array_equal(reds(tmp_path / "a.tif"), GREYS)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_fractions_are_scaled_by_their_range(tmp_path, white):
    values = (GREYS / 255 * white).astype(np.float32)
    assert np.array_equal(reds(save(tmp_path / "a", values, "TIFF")), GREYS)


@pytest.mark.parametrize("white", [255, 65535])
def test_large_whole_numbers_are_scaled_by_their_range(tmp_path, white):
    values = GREYS.astype(np.int32) * (white // 255)
    assert np.array_equal(reds(save(tmp_path / "a", values, "TIFF")), GREYS)


@pytest.mark.parametrize(
    "values",
    [np.full((2, 2), 70_000, np.int32), np.full((2, 2), -1, np.int32), np.full((2, 2), np.nan, np.float32)],
    ids=["above", "below", "no number"],
)
def test_an_unknown_scale_is_refused(tmp_path, values):
    path = save(tmp_path / "a", values, "TIFF")
    with pytest.raises(OSError, match=f"cannot read the image {path} .its greys go from .* save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_eight_bits_are_as_pillow_has_them(tmp_path, mode):
    image = Image.fromarray(np.stack([GREYS, GREYS.T, 255 - GREYS], 2)).convert(mode)
    image.save(tmp_path / "a", format="TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    with Image.open(tmp_path / "a") as saved:
        try:
            wanted = np.asarray(saved.convert("RGB"))
        except OSError:  # Pillow 11 and YCbCr
            pytest.skip("this Pillow cannot read what it has written")
        assert np.array_equal(np.asarray(read_image(tmp_path / "a")), wanted)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [39, 10], ids=["Pillow warns", "Pillow refuses"])
def test_too_many_pixels_are_an_os_error_that_names_the_file(tmp_path, monkeypatch, limit):
    path = save(tmp_path / "large.png", np.zeros((5, 8), np.uint8), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(OSError, match=r"cannot read the image .*large.png \(.*40 ?pixels"):
        read_image(path)
    assert "40 pixels" in why_unreadable(path) and str(path) not in why_unreadable(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).size == (8, 5)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_pillows_warning_may_be_an_error(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", np.zeros((5, 8), np.uint8), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 39)
    with pytest.raises(OSError, match="large.png"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "DDS", "PPM"])
def test_damage_is_never_anything_but_an_os_error(tmp_path, form, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    buffer, draw, path = io.BytesIO(), random.Random(1), tmp_path / "a"
    Image.fromarray(np.stack([GREYS, GREYS.T, 255 - GREYS], 2)).save(buffer, format=form)
    whole, read = buffer.getvalue(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 3, 20))):
            damaged[draw.randrange(min(len(damaged), draw.choice((60, len(damaged)))))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.randrange(len(damaged))] if draw.random() < 0.3 else damaged)
        try:
            read += read_image(path).mode == "RGB"
        except OSError as error:
            assert str(path) in str(error)
    assert read < 150


def test_what_a_decoder_raises_is_an_os_error(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", GREYS, "PNG")
    for raised in (RuntimeError("Failed to decode"), NotImplementedError("format 7"), KeyError(3)):
        monkeypatch.setattr(Image, "open", lambda path, error=raised: (_ for _ in ()).throw(error))
        with pytest.raises(OSError, match=f"a.png .{type(raised).__name__}: "):
            read_image(path)
    monkeypatch.setattr(Image, "open", lambda path: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):  # the machine's fault
        read_image(path)


def test_the_reason_leaves_the_path_out(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert why_unreadable(save(tmp_path / "b.png", GREYS, "PNG")) == ""
    for name, reason in (("a.png", "cannot identify"), ("absent.png", "No such file"), ("", "Is a directory")):
        why = why_unreadable(str(tmp_path / name))
        assert reason in why and str(tmp_path) not in why
