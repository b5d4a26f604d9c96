"""Small stand-ins: CLIP models of two sizes and an ImageNet of five classes, made on the spot."""

import gzip
import json

import numpy as np
import torch
from PIL import Image

CLASSES = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n02007558": "flamingo",
    "n04147183": "schooner",
    "n04356056": "sunglasses",
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def write_clip(folder, width, image_size, seed, zeta=None, mean=MEAN, std=STD, layers=2):
    """A random CLIP ViT in open_clip's folder format, with a short merges table of its own.

    ``zeta`` is the temperature of its cosine logits, by default what open_clip starts from (0.07).
    """
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    merges = ["#version: 0.2", "p h", "t o</w>", "o f</w>"]
    (folder / "bpe.txt.gz").write_bytes(gzip.compress("\n".join(merges).encode()))
    config = {
        "embed_dim": width,
        "vision_cfg": {"image_size": image_size, "layers": layers, "width": width, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 512 + 3 + 2, "width": 32, "heads": 2, "layers": layers},
    }
    preprocess = {"mean": list(mean), "std": list(std)}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.manual_seed(seed)
    weights = open_clip.CLIP(**config).state_dict()
    if zeta is not None:
        weights["logit_scale"] = torch.tensor(1 / zeta).log()
    save_file(weights, folder / "open_clip_model.safetensors")
    return str(folder)


def write_imagenet(root, train=8, val=4, width=48):
    """Five classes in CoOp's layout; each has a colour of its own, so that they can be learned."""
    draw = np.random.default_rng(0)
    lines = []
    for label, (wnid, name) in enumerate(CLASSES.items()):
        lines.append(f"{wnid} {name}")
        for part, count in (("train", train), ("val", val)):
            write_images(root / "imagenet" / "images" / part / wnid, label, count, draw, width)
    (root / "imagenet" / "classnames.txt").write_text("\n".join(lines) + "\n")
    return root


def write_images(folder, label, count, draw, width=48, cast=0):
    """Images in the colour of a class; a ``cast`` of up to so much makes them differ and some hard to tell."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = draw.integers(0, 90, (36, width, 3))
        pixels[..., label % 3] += 40 * (1 + label // 3)
        if cast:
            pixels = (pixels + draw.integers(0, cast, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.JPEG", format="PNG")
