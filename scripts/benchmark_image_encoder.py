"""Time and activation memory of the prompted image encoder against the straightforward computation.

Both compute the same thing: image features under learned visual prompts, and the gradient of the prompts. The
straightforward way puts the prompts beside the patches and calls open_clip's own blocks on all tokens. The image tower
is CLIP ViT-B/16's with random weights in float32 (neither time nor memory depends on the weights). Timings alternate,
so that a busy machine slows both; the ratio is the median over pairs.

    python scripts/benchmark_image_encoder.py --threads 1 --batch 8 --depth 9
"""

from __future__ import annotations

import argparse
import statistics

import open_clip
import torch
from benchmark_text_encoder import Candidate, difference, spread
from torch import Tensor, nn

from dho_prompt.clip.prompted_vision import PromptedVisionEncoder


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = _image_model().to(args.device)
    encoder = PromptedVisionEncoder(model, args.n_ctx, args.depth)
    prompts = nn.Parameter(0.02 * torch.randn(args.depth, args.n_ctx, encoder.width, device=args.device))
    images = torch.randn(args.batch, 3, 224, 224, device=args.device)

    ours = Candidate(lambda: encoder(images, prompts), prompts, model)
    full = Candidate(lambda: straightforward(model.visual, images, prompts), prompts, model)
    pairs = [(ours.run(), full.run()) for _ in range(args.repeats + 1)][1:]  # the first pair warms up
    ours_times, full_times = [list(times) for times in zip(*pairs)]
    ratio = statistics.median(full_time / ours_time for ours_time, full_time in pairs)
    ours_bytes, full_bytes = ours.activation_bytes(), full.activation_bytes()

    setting = f"batch {args.batch}, {args.n_ctx} prompts, depth {args.depth}, float32"
    print(f"{setting}, {args.device}, {args.threads} thread(s), torch {torch.__version__}")
    print(f"forward + backward   ours {spread(ours_times)} s, full {spread(full_times)} s: {ratio:.2f} times faster")
    print(
        f"kept for backward    ours {ours_bytes / 2**20:.0f} MiB, full {full_bytes / 2**20:.0f} MiB: "
        f"{full_bytes / ours_bytes:.2f} times less"
    )
    print(f"largest difference   features {difference(ours.features, full.features):.1e}", end=", ")
    print(f"prompt gradient {difference(ours.gradient, full.gradient):.1e} (relative to the largest value)")


def straightforward(tower: nn.Module, images: Tensor, prompts: Tensor) -> Tensor:
    """All tokens through all of the tower's blocks; the prompts stand behind the patches."""
    depth, n_ctx, _ = prompts.shape
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(images), 1, -1)
    x = torch.cat((first, patches), dim=1) + tower.positional_embedding
    x = tower.ln_pre(torch.cat((x, prompts[0].expand(len(images), -1, -1)), dim=1))
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index < depth:
            x = torch.cat((x[:, :-n_ctx], prompts[index].expand(len(images), -1, -1)), dim=1)
        x = block(x)
    return tower.ln_post(x[:, 0]) @ tower.proj


def _image_model() -> nn.Module:
    """ViT-B/16's image tower with OpenAI's activation; the text tower is a token one, it is never run."""
    config = open_clip.get_model_config("ViT-B-16-quickgelu")
    text = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 1, "layers": 1}
    model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], text, quick_gelu=True)
    return model.eval().requires_grad_(False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--n-ctx", type=int, default=4, help="prompt tokens of a block")
    parser.add_argument("--depth", type=int, default=9, help="blocks with prompts, 1-12")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved pairs")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
