"""Time and memory of a finetuning step by its parts, with random weights: CLIP student and teacher on one device.

python scripts/benchmark_finetune_step.py [--student ViT-B-16] [--teacher ViT-L-14-336] [--batch 4] [--threads 1]
"""

import argparse
import resource
import time

import open_clip
import torch

from dho_prompt.clip.loading import LoadedCLIP, build_model
from dho_prompt.clip.names import resolve_name
from dho_prompt.distill.dho import DHO
from dho_prompt.heads import make_head
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.finetune import FinetuneMethod
from dho_prompt.students.trained_clip import TrainedCLIPStudent


def clip_of(name: str, device: torch.device) -> LoadedCLIP:
    """A CLIP with random weights, frozen."""
    spec = resolve_name(f"open_clip:{name}")
    model = build_model(spec).to(device).eval().requires_grad_(False)
    size = model.visual.image_size
    size = size[0] if isinstance(size, (tuple, list)) else size
    return LoadedCLIP(model, None, name, "random", size, spec.mean, spec.std, spec.architecture["embed_dim"], 100.0)


def memory(device: torch.device) -> str:
    """The most that the process, or the device, has held."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the device"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB in the process"


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--student", default="ViT-B-16", choices=open_clip.list_models(), metavar="MODEL")
    parse.add_argument("--teacher", default="ViT-L-14-336", choices=open_clip.list_models(), metavar="MODEL")
    parse.add_argument("--batch", type=int, default=4, help="labelled images, and as many unlabelled (default 4)")
    parse.add_argument("--classes", type=int, default=1000)
    parse.add_argument("--steps", type=int, default=3)
    parse.add_argument("--threads", type=int, default=1)
    args = parse.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student = TrainedCLIPStudent(clip_of(args.student, device))
    method = FinetuneMethod(student, make_head(student.embed_dim, args.classes, "linear")).to(device)
    objective = DHO(make_head(student.embed_dim, args.classes), DHOLoss()).to(device)
    teacher = clip_of(args.teacher, device)
    texts = torch.nn.functional.normalize(torch.randn(args.classes, teacher.embed_dim, device=device), dim=1)
    weights = [*method.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW([weight for weight in weights if weight.requires_grad], lr=5e-5)
    images = torch.randn(2 * args.batch, 3, student.view.size, student.view.size, device=device)
    seen = torch.randn(2 * args.batch, 3, teacher.image_size, teacher.image_size, device=device)
    labels = torch.randint(args.classes, (args.batch,), device=device)

    spent: dict[str, list[float]] = {}

    def timed(part, run):
        start = time.perf_counter()
        result = run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.setdefault(part, []).append(time.perf_counter() - start)
        return result

    def teach():
        with torch.no_grad():
            return 100 * torch.nn.functional.normalize(teacher.encode_image(seen), dim=1) @ texts.t()

    for _ in range(args.steps + 1):
        optimizer.zero_grad()
        logits = timed("teacher", teach)
        output = timed("student forward", lambda: method(images, args.batch))
        terms = timed("heads and loss", lambda: objective(output, labels, logits))  # noqa: B023
        timed("backward", terms.total.backward)
        timed("optimiser", optimizer.step)
    medians = {part: sorted(times[1:])[len(times[1:]) // 2] for part, times in spent.items()}
    whole = sum(medians.values())
    print(f"{args.student} <- {args.teacher}, {args.batch} + {args.batch} images, {args.classes} classes, {device}")
    for part, seconds in medians.items():
        print(f"{part:16} {seconds:7.3f} s {100 * seconds / whole:5.1f} %")
    print(f"{'step':16} {whole:7.3f} s, at most {memory(device)}")


if __name__ == "__main__":
    main()
