"""Steps with DHO: the teacher's features from a store (:mod:`dho_prompt.store`) against asking the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Case
from benchmarks.towers import class_names, random_clip
from dho_prompt.distill.dho import DHO
from dho_prompt.heads import make_head
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import Method
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.methods.linear_probe import LinearProbeMethod
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.methods.vpt import VPTMethod
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.teachers.zeroshot import cosine_logits

GOALS = {"ViT-L-14-336": 4.0, "ViT-H-14-378": 9.0}


def methods(student: CLIPStudent, classes: int, n_ctx: int, depth: int) -> dict[str, Callable[[], Method]]:
    """What builds each method, so that one is held at a time."""
    names, prompts = class_names(classes), {"depth_text": depth, "depth_vision": depth}

    def head() -> nn.Module:
        return make_head(student.embed_dim, classes, "linear")

    return {
        "LinearProbe": lambda: LinearProbeMethod(student, head()),
        "CoOp": lambda: CoOpMethod(student, names, n_ctx),
        "VPT": lambda: VPTMethod(student, head(), 2, depth),
        "PromptSRC": lambda: PromptSRCMethod(student, names, **prompts, templates=["a photo of a {}."]),
    }


def dho(args: Any) -> list[Case]:
    """One case a method; ``args.batch`` labelled images and as many unlabelled ones."""
    classes, batch, device = args.classes, args.batch, args.device
    clip = random_clip("ViT-B-16-quickgelu", device, args.small)
    teacher = random_clip(args.teacher, device, args.small, text=False)
    student = CLIPStudent(clip)
    images = torch.randn(2 * batch, 3, clip.image_size, clip.image_size, device=device)
    seen = torch.randn(2 * batch, 3, teacher.image_size, teacher.image_size, device=device)
    labels = torch.arange(batch, device=device) % classes
    texts = F.normalize(torch.randn(classes, teacher.embed_dim, device=device), dim=1)
    stored = F.normalize(teacher.frozen_image_features(seen), dim=1).half()

    def read() -> Tensor:
        return cosine_logits(F.normalize(stored.float(), dim=1), texts, 0.01)

    def ask() -> Tensor:
        return cosine_logits(F.normalize(teacher.frozen_image_features(seen).float(), dim=1), texts, 0.01)

    setting = {"classes": classes, "batch": [batch, batch], "teacher": args.teacher}
    size = f"{classes} classes, batch {batch} + {batch}"
    goal, note = GOALS.get(args.teacher), "published: the same step of ours, with the teacher asked; stored in float16"
    cases = []
    for name, build in methods(student, classes, args.n_ctx, 3 if args.small else 9).items():
        method = build().to(device)
        objective = DHO(make_head(student.embed_dim, classes), DHOLoss()).to(device)
        step = _step(method, objective, images, labels)
        others = []
        if method.frozen_pass:
            with torch.no_grad():
                frozen = student(images[:batch])
            both = _step(method, objective, images, labels, frozen_image=frozen)
            title = f"{name} + DHO step, stored {args.teacher} and frozen pass, {size}"
            others = [(title, goal, lambda both=both: both(read()))]
        cases.append(
            Case(
                f"{name} + DHO step, stored {args.teacher}, {size}",
                setting,
                lambda step=step: step(read()),
                lambda step=step: step(ask()),
                goal,
                note=note,
                others=others,
            )
        )
    return cases


def stored_views(args: Any, views: int, runs: int = 3) -> Case:
    """What ``runs`` runs, which show ``views`` crops of the same images, hear of a teacher: from a store, or asked."""
    teacher = random_clip(args.teacher, args.device, args.small, text=False)
    size = teacher.image_size
    crops = [torch.randn(1, 3, size, size, device=args.device) for _ in range(views)]
    ask = torch.no_grad()(lambda crop: F.normalize(teacher.frozen_image_features(crop), dim=1))

    def ours() -> dict[str, Tensor]:
        stored = torch.stack([ask(crop).half() for crop in crops])
        return {"features": torch.cat([row.float() for _ in range(runs) for row in stored])}

    def published() -> dict[str, Tensor]:
        return {"features": torch.cat([ask(crop) for _ in range(runs) for crop in crops])}

    return Case(f"{runs} runs, {views} views", {"views": views, "runs": runs, "teacher": args.teacher}, ours, published)


def _step(
    method: Method, objective: DHO, images: Tensor, labels: Tensor, **more: Tensor
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Forward, loss and backward for given teacher logits; the update is left out, so every run is the same."""
    weights = [weight for part in (method, objective) for module in part.trainable().values()
               for weight in module.parameters()]  # fmt: skip

    def run(logits: Tensor) -> dict[str, Tensor]:
        for weight in weights:
            weight.grad = None
        total = objective(method(images, len(labels), **more), labels, logits).total
        total.backward()
        gradients = [weight.grad.flatten() for weight in weights if weight.grad is not None]
        return {"loss": total.detach(), "gradient": torch.cat(gradients)}

    return run
