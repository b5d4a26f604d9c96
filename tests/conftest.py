"""Small stand-ins: CLIP models of two sizes and an ImageNet of five classes, made on the spot."""

import gzip
import json

import numpy as np
import pytest
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


def write_clip(folder, width, image_size, seed):
    """A random CLIP ViT in open_clip's folder format, with a short merges table of its own."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    merges = ["#version: 0.2", "p h", "t o</w>", "o f</w>"]
    (folder / "bpe.txt.gz").write_bytes(gzip.compress("\n".join(merges).encode()))
    config = {
        "embed_dim": width,
        "vision_cfg": {"image_size": image_size, "layers": 2, "width": width, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 512 + 3 + 2, "width": 32, "heads": 2, "layers": 2},
    }
    preprocess = {"mean": MEAN, "std": STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.manual_seed(seed)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


@pytest.fixture(scope="session")
def student_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "student", 32, 32, seed=1)


@pytest.fixture(scope="session")
def teacher_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "teacher", 48, 40, seed=2)


def write_imagenet(root, train=8, val=4):
    """Five classes in CoOp's layout; each has a colour of its own, so that they can be learned."""
    draw = np.random.default_rng(0)
    lines = []
    for label, (wnid, name) in enumerate(CLASSES.items()):
        lines.append(f"{wnid} {name}")
        for part, count in (("train", train), ("val", val)):
            folder = root / "imagenet" / "images" / part / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 90, (36, 48, 3))
                pixels[..., label % 3] += 40 * (1 + label // 3)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.JPEG", format="PNG")
    (root / "imagenet" / "classnames.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("data"))


@pytest.fixture
def train_args(data_root, student_clip, teacher_clip, tmp_path):
    """Arguments of a small run: ``train_args(trainer, KEY, VALUE, ...)``; output goes to ``tmp_path / "run"``."""

    def arguments(trainer, *opts, output=None, seed=1):
        fixed = {
            "DATASET.NAME": "ImageNet",
            "DATASET.NUM_SHOTS": "2",
            "INPUT.SIZE": "(32, 32)",
            "INPUT.TRANSFORMS": "('random_resized_crop', 'random_flip', 'normalize')",
            "INPUT.PIXEL_MEAN": str(MEAN),
            "INPUT.PIXEL_STD": str(STD),
            "MODEL.BACKBONE.NAME": student_clip,
            "TRAINER.DHO.TEACHER.NAME": teacher_clip,
            "TRAINER.DHO.TEACHER.TEMPLATES": "('a photo of a {}.',)",
            "TRAINER.COOP.N_CTX": "2",
            "TRAINER.COOP.PREC": "fp32",
            "OPTIM.NAME": "sgd",
            "OPTIM.LR": "0.01",
            "OPTIM.MAX_EPOCH": "3",
            "OPTIM.LR_SCHEDULER": "cosine",
            "OPTIM.WARMUP_EPOCH": "1",
            "OPTIM.WARMUP_TYPE": "constant",
            "DATALOADER.NUM_WORKERS": "0",
            "TRAIN.COUNT_ITER": "train_u",
            "TRAIN.PRINT_FREQ": "1",
            "VERBOSE": "False",
        }
        fixed.update(zip(opts[0::2], map(str, opts[1::2])))
        output = tmp_path / "run" if output is None else output
        flags = ["--root", str(data_root), "--seed", str(seed), "--trainer", trainer, "--output-dir", str(output)]
        return flags + [word for pair in fixed.items() for word in pair]

    return arguments
