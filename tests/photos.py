"""Pictures with the statistics of photographs (detail falls off with its size), drawn, not taken."""

import numpy as np
from PIL import Image


def photo(seed, width=500, height=375):
    """An RGB picture; as a JPEG of quality 90 it has some 100 kB at the default size."""
    draw = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for detail in (3, 7, 15, 40, 110, height):
        layer = draw.normal(0, 255, (detail, max(1, detail * width // height), 3)).clip(-500, 500)
        grey = layer.mean(2, keepdims=True)
        small = ((layer * 0.3 + grey) / 4 + 128).clip(0, 255).astype(np.uint8)
        total += (np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC), float) - 128) / detail**0.25
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))
