"""Train the two small CLIP models of the embedded digit pairs from scratch, on drawn pairs and captions.

    OMP_NUM_THREADS=1 python scripts/pretrain_digit_pairs_clip.py --output dho_prompt/models --seed 1

writes ``digit-pairs-teacher/`` (a ResNet tower) and ``digit-pairs-student/`` (a small ViT tower) in the form of
``pretrain_digits_clip.py``, whose drawing, captions' merges and files are used here. The same bytes come out every time
on one machine with one thread.

No scanned digit is used, and neither the ground patterns of the renditions. The pictures are the other script's type
faces and, beside them, pen strokes: paths through a few points that are shaken before they are drawn, so that they are
as irregular as handwriting (``pen_digits.py``).

1. text only: captions of different content are pushed apart, and two linear heads read the two digits off them;
2. images, text frozen: the image tower learns to point at its caption; the two heads, which are thrown away at the
   end, read the two digits off the image features as well, which spares most of the steps;
3. the same with normalised features and a learnt temperature, as CLIP is used.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import torch
from pen_digits import HANDS, pen_bank
from pretrain_digits_clip import CANVAS, SIZE, WORDS, Painter, _column, _descend, save, trimmed_merges
from torch import nn
from torch.nn import functional as F

from dho_prompt.files import atomic_write

NAMES = tuple(f"{left} {right}" for left in WORDS for right in WORDS)
TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of the digits {}.",
    "a photo of the numbers {}.",
    "two handwritten digits, {}.",
    "the handwritten digits {}.",
    "the numbers {}.",
    "handwriting of {}.",
    "a drawing of the numbers {}.",
    "a sketch of {}.",
    "a bad photo of the {}.",
    "a blurry photo of {}.",
    "itap of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a {} in a video game.",
    "art of the {}.",
)
# Steps of the three stages. As with full-size models, the teacher is the larger one and has seen more pictures.
MODELS = {
    "digit-pairs-teacher": {
        "image_size": 48,
        "vision": {"image_size": 48, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "steps": (150, 700, 300),
    },
    "digit-pairs-student": {
        "image_size": SIZE,
        "vision": {"image_size": SIZE, "layers": 3, "width": 96, "head_width": 32, "patch_size": 8},
        "steps": (150, 450, 150),
    },
}
EMBED_DIM = 64
MEAN = STD = (0.5, 0.5, 0.5)


# ---------------------------------------------------------------------------------------------------- pictures


class PairPainter(Painter):
    """Draws random pictures of two digits: (batch, 3, SIZE, SIZE) in 0..1."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        faces = len(self.bank)
        self.bank = torch.cat([self.bank, pen_bank(seed)])
        weights = [1.0 / faces] * faces + [3.0 / HANDS] * HANDS  # a quarter type, the rest pen
        self.weights = torch.tensor(weights)

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        n = len(labels)
        digits = torch.stack([labels // 10, labels % 10], 1).flatten()
        faces = torch.multinomial(self.weights, 2 * n, replacement=True, generator=self.random)
        ink = self._pen(self._bend(self.bank[faces, digits].unsqueeze(1)))
        style = self._uniform(n, 0, 1)
        both = style.repeat_interleave(2)
        ink = self._filled(ink)
        coarse = F.adaptive_avg_pool2d(ink, 8)
        coarse = coarse / coarse.amax((2, 3), keepdim=True).clamp(min=0.2)  # every scan has full ink somewhere
        coarse = F.interpolate(coarse, size=SIZE, mode="bicubic", align_corners=False)
        ink = torch.where(_column(both < 0.8), coarse, F.adaptive_avg_pool2d(ink, SIZE))
        ink = self._placed(ink).clamp(0, 1) * _column(self._uniform(n, 0.75, 1.0))
        ink = self._cropped(ink)
        return torch.where(_column(style < 0.35), self._coloured(ink), ink.expand(-1, 3, -1, -1)).clamp(0, 1)

    def _filled(self, ink: torch.Tensor) -> torch.Tensor:
        """A window as high as the ink and about as wide as high, as scans are cut; the whole canvas in size."""
        n = len(ink)
        (y, half_y), (x, half_x) = (_extent(ink.amax(dim).view(n, CANVAS) > 0.3) for dim in (3, 2))
        tall = half_y * self._uniform(n, 0.95, 1.08)
        wide = torch.maximum(half_x, half_y * self._uniform(n, 0.8, 1.15))
        zero = torch.zeros(n)
        place = torch.stack([wide, zero, x, zero, tall, y], 1).view(n, 2, 3)
        return F.grid_sample(ink, F.affine_grid(place, list(ink.shape), align_corners=False), align_corners=False)

    def _placed(self, ink: torch.Tensor) -> torch.Tensor:
        """(2 n, 1, SIZE, SIZE), one digit each, to (n, 1, SIZE, SIZE), two of them."""
        n = len(ink)
        wide, tall = self._uniform(n, 1.0, 1.2), self._uniform(n, 0.95, 1.35)
        zero = torch.zeros(n)
        x, y = (wide - 1) * self._uniform(n, -1, 1), (tall - 1) * self._uniform(n, -1, 1)
        grid = F.affine_grid(
            torch.stack([wide, zero, x, zero, tall, y], 1).view(n, 2, 3), [n, 1, SIZE, SIZE // 2], False
        )
        halves = F.grid_sample(ink, grid, align_corners=False).view(n // 2, 2, SIZE, SIZE // 2)
        return torch.cat([halves[:, :1], halves[:, 1:]], 3)

    def _cropped(self, ink: torch.Tensor) -> torch.Tensor:
        """A look at most of the picture: between 70 % of it and a little beyond its edge."""
        n = len(ink)
        wide, tall = self._uniform(n, 0.84, 1.05), self._uniform(n, 0.82, 1.05)
        zero = torch.zeros(n)
        x, y = (1 - wide) * self._uniform(n, -1, 1), (1 - tall) * self._uniform(n, -1, 1)
        grid = F.affine_grid(torch.stack([wide, zero, x, zero, tall, y], 1).view(n, 2, 3), list(ink.shape), False)
        return F.grid_sample(ink, grid, align_corners=False)


def _extent(present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half of the length of what is present in each row, (n, CANVAS), in affine_grid's units."""
    first, last = present.float().argmax(1), CANVAS - present.flip(1).float().argmax(1)
    return (first + last) / CANVAS - 1, (last - first) / CANVAS


# ---------------------------------------------------------------------------------------------------- training


def train(name: str, config: dict, tokenizer, seed: int, batch: int = 128) -> nn.Module:
    """Train one model in the three stages of the module's text; returns it in evaluation mode."""
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    rng, painter = random.Random(seed), PairPainter(seed)
    model = CLIP(**config["model_cfg"]).train()
    heads = nn.ModuleList([nn.Linear(EMBED_DIM, len(WORDS)) for _ in range(2)])
    text_steps, pointing_steps, contrastive_steps = MODELS[name]["steps"]
    image_parameters = [*model.visual.parameters(), *heads.parameters()]
    text_parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.")]

    def digits_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(heads[0](features), labels // 10) + F.cross_entropy(heads[1](features), labels % 10)

    def text_features(template: str) -> torch.Tensor:
        return F.normalize(model.encode_text(tokenizer([template.format(name) for name in NAMES])), dim=-1)

    def text_loss() -> torch.Tensor:
        labels = torch.arange(len(NAMES))
        first, second = (text_features(template) for template in rng.sample(TEMPLATES, 2))
        apart = F.cross_entropy(first @ second.T * 14, labels)
        return apart + 0.5 * digits_loss(8 * first, labels)

    def images() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(len(NAMES), (batch,), generator=painter.random)
        pictures = painter(labels)
        size = MODELS[name]["image_size"]
        if size != SIZE:
            pictures = F.interpolate(pictures, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        return (pictures - 0.5) / 0.5, labels

    def pointing_loss() -> torch.Tensor:
        pictures, labels = images()
        features = model.encode_image(pictures)
        return F.cross_entropy(features @ rng.choice(captions).T, labels) + digits_loss(features, labels)

    def contrastive_loss() -> torch.Tensor:
        pictures, labels = images()
        features = model.encode_image(pictures)
        logits = model.logit_scale.exp() * F.normalize(features, dim=-1) @ rng.choice(captions).T
        return F.cross_entropy(logits, labels) + 0.2 * digits_loss(features, labels)

    _descend(name, "text", text_loss, [*text_parameters, *heads.parameters()], text_steps, 1e-3)
    with torch.no_grad():
        captions = [text_features(template) for template in TEMPLATES]
    _descend(name, "pointing", pointing_loss, image_parameters, pointing_steps, 2e-3)
    _descend(name, "contrastive", contrastive_loss, [*image_parameters, model.logit_scale], contrastive_steps, 5e-4)
    with torch.no_grad():
        model.logit_scale.clamp_(max=math.log(100))
    return model.eval()


def make_config(name: str, vocab_size: int) -> dict:
    """open_clip's ``open_clip_config.json`` for one model."""
    text = {"context_length": 77, "vocab_size": vocab_size, "width": 64, "heads": 2, "layers": 2}
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    model = {"embed_dim": EMBED_DIM, "vision_cfg": MODELS[name]["vision"], "text_cfg": text}
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def caption_words() -> tuple[str, ...]:
    text = " ".join(TEMPLATES).replace("{}", " ").replace(".", " ").replace(",", " ")
    return tuple(sorted({*WORDS, *text.split()}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded digit pairs' CLIP models on drawn pairs.")
    parser.add_argument("--output", type=Path, required=True, help="folder that receives one folder per model")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights, pictures and captions")
    parser.add_argument("--only", choices=sorted(MODELS), help="train this model alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in another order give other bits
    torch.use_deterministic_algorithms(True)

    from open_clip.tokenizer import SimpleTokenizer

    merges = trimmed_merges(caption_words())
    for name in [arguments.only] if arguments.only else MODELS:
        folder = arguments.output / name
        atomic_write(folder / "bpe.txt.gz", lambda file: file.write(merges))
        tokenizer = SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=77)
        config = make_config(name, tokenizer.vocab_size)
        save(train(name, config, tokenizer, arguments.seed), config, merges, folder)
        print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main()
