"""Tiny CLIPs with random weights, built by open_clip."""

import open_clip
import torch

VIT = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 3}


def tiny_config(vision=None, quick_gelu=True, **text):
    return {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": dict(vision or VIT),
        "text_cfg": {**TEXT, **text},
    }


def tiny_clip(vision=None, quick_gelu=True, kind=open_clip.CLIP, seed=0, **text):
    torch.manual_seed(seed)
    model = kind(**tiny_config(vision, quick_gelu, **text))
    with torch.no_grad():  # open_clip starts biases at 0 and norms at 1, which would hide mistakes
        for name, weight in model.named_parameters():
            if weight.dim() == 1 and "logit" not in name:
                weight.add_(0.1 * torch.randn_like(weight))
        tower = getattr(model, "text", model)
        tower.token_embedding.weight.mul_(10)
        tower.positional_embedding.mul_(10)
    return model.eval().requires_grad_(False)
