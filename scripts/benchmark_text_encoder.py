"""Time and activation memory of the prompted text encoder against the full-length computation.

Both compute the same thing: text features of all classes from a learned generic context, and the gradient of the
context, with ``--depth`` one in each of the first blocks (PromptSRC's is 9). The text tower is CLIP ViT-B/16's with
random weights in float32 (neither time nor memory depends on the weights). Timings alternate, so that a busy machine
slows both; the ratio is the median over pairs.

    python scripts/benchmark_text_encoder.py --threads 1 --classes 100 --n-ctx 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import open_clip
import torch
from torch import Tensor, nn

from dho_prompt.clip.layout import RowLayout
from dho_prompt.clip.text import PromptedTextEncoder
from dho_prompt.clip.tower import full_text_features

NAMES = """
goldfish; great white shark; hammerhead shark; rooster; ostrich; American robin; bald eagle; great grey owl;
fire salamander; smooth newt; tree frog; leatherback sea turtle; box turtle; green iguana; Komodo dragon;
Nile crocodile; eastern hog-nosed snake; king cobra; scorpion; tarantula; centipede; peafowl; African grey parrot;
sulphur-crested cockatoo; hummingbird; toucan; black swan; koala; jellyfish; sea anemone; snail; hermit crab;
flamingo; American coot; king penguin; grey whale; sea lion; Chihuahua; Yorkshire Terrier; golden retriever;
German Shepherd Dog; Siberian Husky; red wolf; Arctic fox; tabby cat; snow leopard; lion; polar bear; meerkat;
ladybug; dung beetle; praying mantis; monarch butterfly; starfish; porcupine; guinea pig; zebra; warthog;
hippopotamus; bighorn sheep; Arabian camel; giant panda; chimpanzee; accordion; airliner; ambulance; analog clock;
backpack; barber chair; barn; baseball player; bell tower; bicycle; bookcase; bow tie; cassette player; chain saw;
coffee mug; computer keyboard; desktop computer; dishwasher; electric guitar; espresso machine; fire truck;
garbage truck; grand piano; hair dryer; harmonica; hot air balloon; iPod; lighthouse; mobile phone; mountain bike;
parachute; pickup truck; school bus; soccer ball; steam locomotive; tennis ball; washing machine
"""


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    model = _text_model().to(device)
    tokenizer = open_clip.SimpleTokenizer()
    names = [name.strip() for name in NAMES.replace("\n", " ").split(";")]
    names = [names[i % len(names)] for i in range(args.classes)]
    encoder = PromptedTextEncoder(model, tokenizer, names, args.n_ctx)
    slots = encoder.prompts.slots
    ctx = nn.Parameter(0.02 * torch.randn(args.depth, args.n_ctx, encoder.width, device=device))

    ours = Candidate(lambda: encoder(ctx[0], ctx[1:]), ctx, model)
    full = Candidate(lambda: full_text_features(model, tokenizer, slots, ctx[0], ctx[1:]), ctx, model)
    pairs = [(ours.run(), full.run()) for _ in range(args.repeats + 1)][1:]  # the first pair warms up
    ours_times, full_times = [list(times) for times in zip(*pairs)]
    ratio = statistics.median(full_time / ours_time for ours_time, full_time in pairs)
    ours_bytes, full_bytes = ours.activation_bytes(), full.activation_bytes()

    setting = (
        f"{args.classes} classes, N_CTX {args.n_ctx}, depth {args.depth}, float32, {device}, {args.threads} thread(s)"
    )
    print(f"{setting}, torch {torch.__version__}")
    print(f"tokens computed      {RowLayout(slots, False).token_ids.numel()} of {77 * len(slots)}")
    print(f"forward + backward   ours {spread(ours_times)} s, full {spread(full_times)} s: {ratio:.1f} times faster")
    print(
        f"kept for backward    ours {ours_bytes / 2**20:.0f} MiB, full {full_bytes / 2**20:.0f} MiB: "
        f"{full_bytes / ours_bytes:.1f} times less"
    )
    print(f"largest difference   features {difference(ours.features, full.features):.1e}", end=", ")
    print(f"context gradient {difference(ours.gradient, full.gradient):.1e} (relative to the largest value)")


class Candidate:
    """One way to compute the features, run forward and backward."""

    def __init__(self, forward: Callable[[], Tensor], ctx: nn.Parameter, model: nn.Module):
        self._forward, self._ctx = forward, ctx
        self._weights = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), ctx]}

    def run(self) -> float:
        """Seconds of one forward and backward; keeps features and gradient for comparison."""
        self._ctx.grad = None
        wait(self._ctx.device)
        start = time.perf_counter()
        features = self._forward()
        # an arbitrary fixed loss whose gradient reaches every feature
        weight = torch.linspace(-1, 1, features.numel(), device=features.device).view_as(features)
        (features * weight).sum().backward()
        wait(self._ctx.device)
        seconds = time.perf_counter() - start
        self.features, self.gradient = features.detach(), self._ctx.grad.clone()
        return seconds

    def activation_bytes(self) -> int:
        """CUDA: peak memory of a run. CPU: what forward keeps for backward, each storage once, without weights."""
        if self._ctx.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.run()
            return torch.cuda.max_memory_allocated() - before
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            features = self._forward()  # alive until here, so that no address is used twice
        del features
        return sum(kept.values())


def _text_model() -> nn.Module:
    """ViT-B/16's text tower with OpenAI's activation; the image tower is a token one, it is never run."""
    config = open_clip.get_model_config("ViT-B-16-quickgelu")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32}
    model = open_clip.CLIP(config["embed_dim"], vision, config["text_cfg"], quick_gelu=True)
    return model.eval().requires_grad_(False)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def difference(ours: Tensor, full: Tensor) -> float:
    return ((ours - full).abs().max() / full.abs().max()).item()


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100, help="number of classes; the names repeat beyond 100")
    parser.add_argument("--n-ctx", type=int, default=16, help="learned context vectors")
    parser.add_argument("--depth", type=int, default=1, help="blocks with a context of their own; 1 is CoOp")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved pairs")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
