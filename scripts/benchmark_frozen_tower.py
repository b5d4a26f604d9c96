"""Time of a frozen image tower's features with the last block for the class token alone, against the tower's own pass.

The tower has random weights in float32 (neither time nor rounding depends on them much). Timings alternate, so
that a busy machine slows both; the ratio is the median over pairs.

    python scripts/benchmark_frozen_tower.py --model ViT-B-16-quickgelu --batch 8 --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time

import open_clip
import torch

from dho_prompt.clip.frozen_vision import frozen_image_features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="a name of Open CLIP's")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model(args.model, pretrained=None).eval().requires_grad_(False)
    size = model.visual.image_size
    images = torch.randn(args.batch, 3, *(size if isinstance(size, (tuple, list)) else (size, size)))
    with torch.inference_mode():
        pairs = []
        for _ in range(args.repeats + 1):
            own, own_time = _timed(lambda: model.encode_image(images))
            ours, our_time = _timed(lambda: frozen_image_features(model, images))
            pairs.append((own_time, our_time))
    pairs = pairs[1:]  # the first pair warms up
    ratio = statistics.median(own / ours for own, ours in pairs)
    medians = [statistics.median(times) for times in zip(*pairs)]
    difference = ((own - ours).abs().max() / own.abs().max()).item()
    print(f"{args.model}, batch {args.batch}, float32, {args.threads} thread(s), torch {torch.__version__}")
    print(f"own pass {medians[0]:.3f} s, short last block {medians[1]:.3f} s: {ratio:.2f} times faster")
    print(f"largest difference {difference:.1e} of the largest feature")


def _timed(work):
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    main()
