"""An image file as 8-bit RGB: deep greys scaled, and every way to fail an OSError."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dho_prompt.files import PathLike

TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_image(path: PathLike) -> Image.Image:
    """Read an image as RGB.

    Pillow cuts deep greys off at 255, so that a picture of 16 bits turns white; here they are scaled to 8 bits. Of 16
    bits are Pillow's modes ``I;16...``, and ``I`` from PNG and PGM files. Other files of mode ``I`` and ``F`` (TIFF) do
    not say what is white: values within 0-255 are taken as they are, larger ones within 0-65535 as 16 bits, fractions
    within 0-1 as shares of white, and any others are refused.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file is not an image that Pillow reads, is cut short, has more pixels than
            ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million; Pillow's guard against files made to fill the memory), or greys
            of an unknown scale. Both messages name the file.
    """
    try:
        return _decode(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no image {path}; has the data set moved since its split was made?"
        ) from error
    except OSError as error:
        raise OSError(f"cannot read the image {path} ({error}); replace it or take it out of the data set") from error


def why_unreadable(path: PathLike) -> str:
    """Why :func:`read_image` would refuse an image, in words; "" if it can be read."""
    try:
        _decode(path)
    except OSError as error:
        return str(error).replace(f" {str(path)!r}", "").replace(f": {str(path)!r}", "") or type(error).__name__
    return ""


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image as :func:`read_image` gives it.

    Raises:
        OSError: its file is cut short, or its greys are of an unknown scale.
    """
    return _scaled(image) if image.mode[0] in "IF" else image.convert("RGB")


def _decode(path: PathLike) -> Image.Image:
    try:
        with Image.open(path) as image:
            _refuse_too_large(image.width * image.height)
            return as_rgb(image)
    except (OSError, MemoryError):
        raise
    except TOO_LARGE as error:  # Pillow's own, above twice the limit, or where warnings are errors
        raise OSError(str(error)) from error
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise OSError(f"{type(error).__name__}: {error}") from error


def _refuse_too_large(pixels: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise OSError(f"it has {pixels:,} pixels, more than the {limit:,} of PIL.Image.MAX_IMAGE_PIXELS")


def _scaled(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    white = 65535 if image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM")) else _white(values)
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8)).convert("RGB")


def _white(values: np.ndarray) -> int:
    """The value of white among 1, 255 and 65535, in a file that does not say."""
    least, most = float(values.min()), float(values.max())
    if not 0 <= least <= most <= 65535:  # nor if one is no number
        raise OSError(f"its greys go from {least:g} to {most:g}, a scale that is unknown: save it with 8 or 16 bits")
    if values.dtype.kind == "f" and most <= 1:
        return 1
    return 255 if most <= 255 else 65535
