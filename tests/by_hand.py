"""The paper's formulas (Eq. 1-11) and CLIP's towers with prompts, restated in float64.

Nothing here calls the package: the weights are read from a model's folder and run by open_clip's own blocks over all 77
positions. What the package computes is measured against this.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.functional import to_tensor

ALPHAS = [round(0.05 * step, 2) for step in range(21)]
BETAS = [0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0]


class Clip(NamedTuple):
    """A CLIP read from its folder: float64, frozen."""

    model: torch.nn.Module
    tokenizer: object
    zeta: float
    size: int
    mean: list
    std: list


def read_clip(folder):
    folder = Path(folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    model = open_clip.CLIP(**config["model_cfg"]).double()
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"))
    zeta = 1 / model.logit_scale.exp().item()
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    return Clip(model.eval().requires_grad_(False), tokenizer, zeta, size, **config["preprocess_cfg"])


# Towers


def unit(rows):
    """Rows of length 1."""
    return rows / rows.square().sum(-1, keepdim=True).sqrt()


def prompted_texts(clip, names, words, ctx, deep=(), behind=0):
    """(classes, d): ``<start> words name. <end>`` with vectors in the places of the first words.

    ``ctx`` (n, width), or (classes, n, width) for a context of each class, before the first block; ``deep`` (n, width)
    each before the second, the third and so on. The last ``behind`` vectors of ``ctx`` stand behind the name.
    """
    model = clip.model
    ids = clip.tokenizer([f"{words} {name.replace('_', ' ')}." for name in names])
    count = ctx.shape[-2]

    def put(x, vectors):
        return torch.cat([x[:, :1], vectors.expand(len(names), -1, -1), x[:, 1 + count :]], dim=1)

    x = put(model.token_embedding(ids), ctx)
    if behind:
        lengths = [len(clip.tokenizer.encode(name.replace("_", " "))) for name in names]
        x = torch.stack([_name_earlier(row, 1 + count, length, behind) for row, length in zip(x, lengths)])
    x = x + model.positional_embedding
    for index, block in enumerate(model.transformer.resblocks):
        x = block(put(x, deep[index - 1]) if 0 < index <= len(deep) else x, attn_mask=model.attn_mask)
    return model.ln_final(x)[range(len(names)), ids.argmax(1)] @ model.text_projection


def _name_earlier(row, start, length, tokens):
    """The ``length`` tokens from ``start`` on, so many tokens earlier."""
    before = start - tokens
    return torch.cat([row[:before], row[start : start + length], row[before:start], row[start + length :]])


def template_texts(clip, names, templates, unit_each=True, as_given=False):
    """(classes, d) of length 1: the mean over templates, of features of length 1 or of features as they are.

    ``as_given``: the plain mean of the features as they are, not of length 1.
    """
    total = 0
    for template in templates:
        features = clip.model.encode_text(clip.tokenizer([template.replace("{}", name) for name in names]))
        total = total + (unit(features) if unit_each and not as_given else features)
    return total / len(templates) if as_given else unit(total)


def image_features(clip, images, prompts=(), projection=None):
    """(batch, d): prompts behind the patches, written anew before each block that has its own."""
    tower, batch, images = clip.model.visual, len(images), images.double()
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(batch, 1, -1), patches], dim=1) + tower.positional_embedding
    if len(prompts):
        x = torch.cat([x, prompts[0].expand(batch, -1, -1)], dim=1)
    x = tower.ln_pre(x)
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index < len(prompts):
            x = torch.cat([x[:, : -len(prompts[0])], prompts[index].expand(batch, -1, -1)], dim=1)
        x = block(x)
    return tower.ln_post(x[:, 0]) @ (tower.proj if projection is None else projection)


def view(path, size, mean, std, centre=True, resample=Image.BICUBIC):
    """(3, size, size) of an image file: its middle at the scale of the shorter side, or all of it squeezed."""
    image = Image.open(path).convert("RGB")
    short = min(image.size) if centre else None
    width, height = (int(size * side / short) if centre else size for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.resize((width, height), resample).crop((left, top, left + size, top + size))
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, std))
    return (to_tensor(image).double() - mean) / std


# Heads and losses


def cosine(features, weight, zeta):
    """Eq. 1 before its softmax, and Eq. 10."""
    return unit(features) @ unit(weight).t() / zeta


def linear(features, weight, bias):
    return features @ weight.t() + bias


def log_softmax(logits):
    logits = logits - logits.amax(-1, keepdim=True)
    return logits - logits.exp().sum(-1, keepdim=True).log()


def softmax(logits):
    return log_softmax(logits).exp()


def cross_entropy(logits, labels):
    """Eq. 6: the batch mean of -log p(label)."""
    return -sum(row[label] for row, label in zip(log_softmax(logits), labels)) / len(labels)


def kl(teacher_logits, student_logits, eta, squared):
    """A term of Eq. 7, softened as in Algorithm 1, optionally times eta^2; 0 for no images."""
    total = torch.zeros((), dtype=torch.float64)
    for teacher, student in zip(teacher_logits.detach() / eta, student_logits / eta):
        total = total + (softmax(teacher) * (log_softmax(teacher) - log_softmax(student))).sum()
    return total / max(len(teacher_logits), 1) * (eta**2 if squared else 1)


def self_regularisation(text, image, logits, frozen_text, frozen_image, frozen_logits, weights):
    """PromptSRC's three terms by their names in the log."""
    p = softmax(frozen_logits)
    return {
        "loss_scl_text": weights[0] * (unit(text) - unit(frozen_text)).abs().mean(),
        "loss_scl_image": weights[1] * (unit(image) - unit(frozen_image)).abs().mean(),
        "loss_scl_logits": (p * (p.log() - log_softmax(logits))).mean(),
    }


# Optimiser


class SGD:
    """Momentum and weight decay, one learning rate for each tensor."""

    def __init__(self, momentum, weight_decay):
        self.momentum, self.weight_decay, self.velocity = momentum, weight_decay, {}

    def step(self, name, value, gradient, rate):
        """The tensor after the step."""
        change = gradient + self.weight_decay * value
        if name in self.velocity:
            change = self.momentum * self.velocity[name] + change
        self.velocity[name] = change
        return value - rate * change


# Inference


def mix(ce_logits, kd_logits, alpha, beta):
    """Eq. 11."""
    return alpha * softmax(ce_logits) + (1 - alpha) * softmax(kd_logits / beta)


def percent_right(scores, labels):
    return 100 * sum(int(row.argmax()) == int(label) for row, label in zip(scores, labels)) / len(labels)


def search(ce_logits, kd_logits, labels, betas=BETAS, by="likelihood", fixed=None):
    """(percent right, alpha, beta) of the best pair; of equal ones alpha nearest .5, beta nearest 1, the smaller.

    The pair ``fixed`` if that is right more often.
    """
    found = []
    for alpha in ALPHAS:
        for beta in betas:
            mixed = mix(ce_logits, kd_logits, alpha, beta)
            right = percent_right(mixed, labels)
            likelihood = sum(math.log(max(row[label].item(), 1e-12)) for row, label in zip(mixed, labels)) / len(labels)
            found.append((right if by == "accuracy" else round(likelihood, 9), right, alpha, beta))
    best = min(found, key=lambda one: (-one[0], round(abs(one[2] - 0.5), 6), max(one[3], 1 / one[3]), *one[2:]))
    right = percent_right(mix(ce_logits, kd_logits, *fixed), labels) if fixed else 0
    return (right, *fixed) if right > best[1] else best[1:]


def calibration_error(probabilities, labels, bins=15):
    """ECE in percent, an image after the other."""
    sums = [[0, 0.0] for _ in range(bins)]
    for row, label in zip(probabilities, labels):
        sure = row.max().item()
        place = next(number for number in range(bins) if sure <= (number + 1) / bins + 1e-12)
        sums[place][0] += int(row.argmax()) == int(label)
        sums[place][1] += sure
    return 100 * sum(abs(right - sure) for right, sure in sums) / len(labels)
