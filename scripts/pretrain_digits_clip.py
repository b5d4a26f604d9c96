"""Train the two small CLIP models of the embedded digits example from scratch, on drawn digits and captions.

    python scripts/pretrain_digits_clip.py --output dho_prompt/models --seed 1

writes ``digits-teacher/`` (a ResNet tower) and ``digits-student/`` (a small ViT tower), each in open_clip's layout:
``open_clip_config.json``, ``open_clip_model.safetensors`` (float16) and ``bpe.txt.gz`` (the merges our words need).

The pictures are drawn here: type faces that matplotlib carries, bent, thickened, blurred, coloured and captioned. No
scanned digit is used, and neither the outline filter nor the ground patterns of the shifted test sets, so those sets
stay unseen domains. Each model is trained in three stages, because the contrastive loss alone stays at chance with so
few different captions:

1. text only: captions of different content are pushed apart;
2. locked text, image features not normalised: the image tower learns to point at its caption;
3. both towers with the usual symmetric contrastive loss over the different captions of a batch, one template each.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import random
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.nn import functional as F

from dho_prompt.files import atomic_write, write_json

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of the number {}.",
    "a photo of the digit {}.",
    "a photo of a handwritten {}.",
    "a bad photo of the {}.",
    "a blurry photo of a {}.",
    "a drawing of the number {}.",
    "a sketch of a {}.",
    "a painting of the digit {}.",
    "a handwritten digit {}.",
    "the handwritten digit {}.",
    "the number {}.",
    "handwriting of a {}.",
    "itap of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a {} in a video game.",
    "art of the {}.",
    "{}",
)
SIZE, CANVAS = 32, 64

# Steps of the three stages. As with full-size models, the teacher is the larger one and has seen more pictures.
MODELS = {
    "digits-teacher": {
        "embed_dim": 64,
        "vision": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "steps": (200, 1400, 1400),
    },
    "digits-student": {
        "embed_dim": 64,
        "vision": {"image_size": SIZE, "layers": 3, "width": 96, "head_width": 32, "patch_size": 8},
        "steps": (200, 400, 200),
    },
}
MEAN = STD = (0.5, 0.5, 0.5)


# ---------------------------------------------------------------------------------------------------- captions


def trimmed_merges(words: tuple[str, ...]) -> bytes:
    """CLIP's byte-pair merges, kept where a caption word needs them; gzip bytes, the same every time."""
    from open_clip.tokenizer import SimpleTokenizer, get_pairs

    full = SimpleTokenizer()
    kept = set()
    for word in words:
        parts = tuple(word[:-1]) + (word[-1] + "</w>",)
        while len(parts) > 1:
            pair = min(get_pairs(parts), key=lambda candidate: full.bpe_ranks.get(candidate, float("inf")))
            if pair not in full.bpe_ranks:  # no whole token in CLIP either ("itap"): the pieces stay
                break
            kept.add(pair)
            joined, i = [], 0
            while i < len(parts):
                step = 2 if parts[i : i + 2] == pair else 1
                joined.append("".join(parts[i : i + step]))
                i += step
            parts = tuple(joined)
    lines = [" ".join(pair) for pair in sorted(kept, key=full.bpe_ranks.get)]
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write("\n".join(["#version: 0.2, trimmed to the caption words", *lines]).encode("utf-8"))
    return buffer.getvalue()


def caption_words() -> tuple[str, ...]:
    text = " ".join(TEMPLATES).replace("{}", " ").replace(".", " ")
    return tuple(sorted({*WORDS, *text.split()}))


# ---------------------------------------------------------------------------------------------------- pictures


def glyph_bank() -> torch.Tensor:
    """Digits in every type face at hand: (faces, 10, CANVAS, CANVAS), ink 1 on 0, each scaled to fill the height."""
    from matplotlib import get_data_path

    names = ("DejaVu", "STIXGeneral", "cmr10", "cmss10", "cmtt10", "cmb10")
    folder = Path(get_data_path()) / "fonts" / "ttf"
    paths = [p for p in sorted(folder.glob("*.ttf")) if p.name.startswith(names) and "Display" not in p.name]
    faces = [ImageFont.truetype(str(path), 96) for path in paths] + [ImageFont.load_default(96)]
    bank = [[_glyph(str(digit), face) for digit in range(10)] for face in faces]
    return torch.from_numpy(np.array(bank))


def _glyph(text: str, face: ImageFont.FreeTypeFont) -> np.ndarray:
    sheet = Image.new("L", (192, 192))
    ImageDraw.Draw(sheet).text((40, 30), text, font=face, fill=255)
    ink = sheet.crop(sheet.getbbox())
    height = CANVAS * 3 // 4
    ink = ink.resize((min(CANVAS, max(8, ink.width * height // ink.height)), height), Image.BICUBIC)
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(ink, ((CANVAS - ink.width) // 2, (CANVAS - height) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255


class Painter:
    """Draws random pictures of digits: (batch, 3, SIZE, SIZE) in 0..1."""

    def __init__(self, seed: int) -> None:
        self.bank = glyph_bank()
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        faces = torch.randint(len(self.bank), labels.shape, generator=self.random)
        ink = self._bend(self.bank[faces, labels].unsqueeze(1))
        ink = self._pen(ink)
        style = self._uniform(len(labels), 0, 1)
        ink = torch.where(_column(style < 0.25), self._ring(ink), ink)
        coarse = F.interpolate(F.adaptive_avg_pool2d(ink, 8), size=SIZE, mode="bicubic", align_corners=False)
        ink = torch.where(_column((style > 0.25) & (style < 0.8)), coarse, F.adaptive_avg_pool2d(ink, SIZE))
        ink = ink.clamp(0, 1) * _column(self._uniform(len(labels), 0.75, 1.0))
        return torch.where(_column(style < 0.6), self._coloured(ink), ink.expand(-1, 3, -1, -1)).clamp(0, 1)

    def _uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=self.random)

    def _noise(self, count: int, channels: int, cells: int, size: int) -> torch.Tensor:
        coarse = torch.randn(count, channels, cells, cells, generator=self.random)
        return F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)

    def _bend(self, ink: torch.Tensor) -> torch.Tensor:
        """Rotate, slant, stretch, shift and warp."""
        n = len(ink)
        turn, slant = self._uniform(n, -0.3, 0.3), self._uniform(n, -0.4, 0.4)
        wide, tall = self._uniform(n, 0.65, 1.15), self._uniform(n, 0.7, 0.95)
        cos, sin = turn.cos(), turn.sin()
        shift = 0.12 * (2 * torch.rand(n, 2, generator=self.random) - 1)
        rows = [wide * cos, slant - sin, shift[:, 0], tall * sin, tall * cos, shift[:, 1]]
        grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(ink.shape), align_corners=False)
        warp = self._noise(n, 2, 4, CANVAS).permute(0, 2, 3, 1) * self._uniform(n, 0.0, 0.12).view(-1, 1, 1, 1)
        return F.grid_sample(ink, grid + warp, align_corners=False)

    def _pen(self, ink: torch.Tensor) -> torch.Tensor:
        """Change the stroke: thicker, thinner or as it is, then soften the edge."""
        thick = F.max_pool2d(ink, 5, stride=1, padding=2)
        thin = -F.max_pool2d(-ink, 3, stride=1, padding=1)
        choice = _column(torch.randint(4, (len(ink),), generator=self.random))
        ink = torch.where(choice == 0, thin, torch.where(choice >= 2, thick, ink))
        level = _column(self._uniform(len(ink), 0.25, 0.6))
        return torch.sigmoid((F.avg_pool2d(ink, 5, stride=1, padding=2) - level) * 12)

    def _ring(self, ink: torch.Tensor) -> torch.Tensor:
        """Hollow letters: the stroke's surroundings without the stroke."""
        wide = F.max_pool2d(ink, 5, stride=1, padding=2)
        return (wide - ink).clamp(0, 1)

    def _coloured(self, ink: torch.Tensor) -> torch.Tensor:
        """Two random colours with enough contrast, both clouded by smooth colour noise."""
        n = len(ink)
        ground = torch.rand(n, 3, 1, 1, generator=self.random)
        brighter = _column(torch.rand(n, generator=self.random)) > 0.5
        far = 0.45 + 0.55 * torch.rand(n, 3, 1, 1, generator=self.random)
        ground = torch.where(brighter, ground * 0.5, 0.5 + ground * 0.5)
        colour = torch.where(brighter, ground + far, ground - far).clamp(0, 1)
        cells = int(torch.randint(3, 13, (1,), generator=self.random))
        clouds = self._noise(n, 3, cells, SIZE) * _column(self._uniform(n, 0.0, 0.2))
        return ink * colour + (1 - ink) * ground + clouds * (1.1 - ink)


def _column(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


# ---------------------------------------------------------------------------------------------------- training


def train(name: str, config: dict, tokenizer, seed: int, batch: int = 128) -> nn.Module:
    """Train one model in the three stages of the module's text; returns it in evaluation mode."""
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    rng, painter = random.Random(seed), Painter(seed)
    model = CLIP(**config["model_cfg"]).train()
    text_steps, locked_steps, contrastive_steps = MODELS[name]["steps"]
    image_parameters = list(model.visual.parameters())
    text_parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.")]

    def text_features() -> torch.Tensor:
        template = rng.choice(TEMPLATES)
        return F.normalize(model.encode_text(tokenizer([template.format(word) for word in WORDS])), dim=-1)

    def images() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(len(WORDS), (batch,), generator=painter.random)
        return (painter(labels) - 0.5) / 0.5, labels

    def text_loss() -> torch.Tensor:
        first, second = text_features(), text_features()
        return F.cross_entropy(first @ second.T * 10, torch.arange(len(WORDS)))

    def locked_loss() -> torch.Tensor:
        pictures, labels = images()
        with torch.no_grad():
            targets = text_features()
        return F.cross_entropy(model.encode_image(pictures) @ targets.T, labels)

    def contrastive_loss() -> torch.Tensor:
        pictures, labels = images()
        logits = model.logit_scale.exp() * F.normalize(model.encode_image(pictures), dim=-1) @ text_features().T
        owners = (labels == torch.arange(len(WORDS))[:, None]).float()
        to_images = -(owners / owners.sum(1, keepdim=True).clamp(min=1) * logits.T.log_softmax(1)).sum(1).mean()
        return (F.cross_entropy(logits, labels) + to_images) / 2

    _descend(name, "text", text_loss, text_parameters, text_steps, 1e-3)
    _descend(name, "locked", locked_loss, image_parameters, locked_steps, 1e-3)
    _descend(name, "contrastive", contrastive_loss, list(model.parameters()), contrastive_steps, 5e-4)
    return model.eval()


def _descend(name: str, stage: str, loss_of, parameters: list, steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    start = time.time()
    for step in range(1, steps + 1):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            print(
                f"{name} {stage} step {step}/{steps} loss {loss.item():.3f} ({time.time() - start:.0f} s)", flush=True
            )


# ---------------------------------------------------------------------------------------------------- files


def make_config(name: str, vocab_size: int) -> dict:
    """open_clip's ``open_clip_config.json`` for one model."""
    text = {"context_length": 77, "vocab_size": vocab_size, "width": 64, "heads": 2, "layers": 2}
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    model = {"embed_dim": MODELS[name]["embed_dim"], "vision_cfg": MODELS[name]["vision"], "text_cfg": text}
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def save(model: nn.Module, config: dict, merges: bytes, folder: Path) -> None:
    from safetensors.torch import save as to_bytes

    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    weights = to_bytes({k: v.contiguous() for k, v in state.items()})
    atomic_write(folder / "bpe.txt.gz", lambda file: file.write(merges))
    atomic_write(folder / "open_clip_model.safetensors", lambda file: file.write(weights))
    digest = hashlib.sha256(weights).hexdigest()
    write_json(folder / "open_clip_config.json", {**config, "weights_sha256": digest})


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded digits CLIP models on drawn digits.")
    parser.add_argument("--output", type=Path, required=True, help="folder that receives one folder per model")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights, pictures and captions")
    parser.add_argument("--only", choices=sorted(MODELS), help="train this model alone")
    arguments = parser.parse_args()

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
