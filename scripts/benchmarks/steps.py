"""Whole training steps and evaluation of CoOp and PromptSRC, without a teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Case
from benchmarks.published import TextFeatures, logits_of, prompted_image_features
from benchmarks.towers import class_names, random_clip
from dho_prompt.losses import self_regularisation
from dho_prompt.methods.base import Method
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.students.clip import CLIPStudent

PARTS = "published: 100 classes at a time, with the loss's gradient of our step"


class Step:
    """A step of one of our methods: forward, loss, backward. The update is left out, so every run is the same.

    Args:
        method: what is trained.
        classes, batch: sizes of a made batch of labelled images.
    """

    def __init__(self, method: Method, classes: int, batch: int, device: torch.device) -> None:
        size = method.student.view.size
        self.method = method
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.labels = torch.arange(batch, device=device) % classes

    def ours(self, features: Tensor | None = None) -> dict[str, Tensor]:
        """The step; from the images' features where these are given, as a store has them."""
        self._clear()
        output = self.method(self.images) if features is None else self.method.of_features(features)
        loss = F.cross_entropy(output.logits, self.labels) + sum(output.extra.values())
        loss.backward()
        return self.result(loss)

    def result(self, loss: Tensor) -> dict[str, Tensor]:
        gradients = {name: weight.grad for name, weight in self._trained().items()}
        return {"loss": loss.detach(), **{f"gradient of {name}": value.clone() for name, value in gradients.items()}}

    def _clear(self) -> None:
        for weight in self._trained().values():
            weight.grad = None

    def _trained(self) -> dict[str, nn.Parameter]:
        modules = self.method.trainable().values()
        return {name: weight for module in modules for name, weight in module.named_parameters()}


class CoOpStep(Step):
    """CoOp's step as published: the image tower, then all classes at full length."""

    def __init__(self, args: Any, classes: int, batch: int) -> None:
        clip = random_clip("ViT-B-16-quickgelu", args.device, args.small)
        super().__init__(CoOpMethod(CLIPStudent(clip), class_names(classes), args.n_ctx), classes, batch, args.device)
        self.clip, self._full = clip, TextFeatures(clip, class_names(classes), args.n_ctx)
        with torch.no_grad():
            text = self.method.encode_text()
        text.requires_grad_()
        features = self.method.encode_image(self.images)
        F.cross_entropy(logits_of(features, text, clip.logit_scale), self.labels).backward()
        self._weight = text.grad  # of the loss by the text features, so that the classes can go in parts

    def published(self) -> dict[str, Tensor]:
        self._clear()
        features = self.clip.model.encode_image(self.images)
        text = self._full.backward(self._weight, self.method.prompt_learner())
        return self.result(F.cross_entropy(logits_of(features, text, self.clip.logit_scale), self.labels))


class PromptSRCStep(Step):
    """PromptSRC's step as published: both prompted towers in full, the frozen image tower, the three further terms."""

    def __init__(self, args: Any, classes: int, batch: int) -> None:
        clip = random_clip("ViT-B-16-quickgelu", args.device, args.small)
        depth = 3 if args.small else 9
        method = PromptSRCMethod(
            CLIPStudent(clip),
            class_names(classes),
            depth_text=depth,
            depth_vision=depth,
            templates=["a photo of a {}."],
        )
        super().__init__(method, classes, batch, args.device)
        self.clip, self._full = clip, TextFeatures(clip, class_names(classes), 4)
        self._frozen_text = method.frozen_text_features()
        with torch.no_grad():
            text, features = method.encode_text(), method.encode_image(self.images)
        self._loss(text.requires_grad_(), features).backward()
        self._weight = text.grad  # as of CoOp's step
        self._clear()

    def _loss(self, text: Tensor, features: Tensor) -> Tensor:
        scale = self.clip.logit_scale
        with torch.no_grad():
            frozen = self.clip.model.encode_image(self.images)
        logits, frozen_logits = logits_of(features, text, scale), logits_of(frozen, self._frozen_text, scale)
        return F.cross_entropy(logits, self.labels) + sum(
            self_regularisation(logits, text, features, frozen_logits, self._frozen_text, frozen)
        )

    def published(self) -> dict[str, Tensor]:
        self._clear()
        prompts = self.method.prompts
        text = self._full.backward(self._weight, prompts.context, prompts.deep_text())
        features = prompted_image_features(self.clip.model.visual, self.images, torch.stack(list(prompts.vision())))
        loss = self._loss(text, features)
        loss.backward()
        return self.result(loss)


def coop(args: Any) -> Case:
    classes, batch = args.classes, args.batch
    step = CoOpStep(args, classes, batch)
    note = "" if classes <= 100 else PARTS
    setting = {"classes": classes, "batch": batch, "n_ctx": args.n_ctx}
    goal, stored_goal = (6.0, 15.0) if classes >= 1000 else (None, None)
    name = f"{classes} classes, batch {batch}"
    with torch.no_grad():
        features = step.method.encode_image(step.images)
    stored = (f"CoOp step, stored image features, {name}", stored_goal, lambda: step.ours(features))
    return Case(f"CoOp step, {name}", setting, step.ours, step.published, goal, note=note, others=[stored])


def promptsrc(args: Any) -> Case:
    classes, batch = args.classes, min(args.batch, 4)
    step = PromptSRCStep(args, classes, batch)
    setting = {"classes": classes, "batch": batch, "depth": 9}
    name, note = f"PromptSRC step, {classes} classes, batch {batch}", "" if classes <= 100 else PARTS
    return Case(name, setting, step.ours, step.published, 9.0, note=note)


def evaluation(args: Any) -> Case:
    """CoOp's evaluation of ``batches`` batches: published, the text tower runs with every batch."""
    classes, batch, batches = args.classes, args.batch, 2
    step = CoOpStep(args, classes, batch)
    full = TextFeatures(step.clip, class_names(classes), args.n_ctx)

    @torch.no_grad()
    def ours() -> dict[str, Tensor]:
        step.method._kept = None  # as after a training step
        return {"logits": torch.cat([step.method(step.images).logits for _ in range(batches)])}

    @torch.no_grad()
    def published() -> dict[str, Tensor]:
        made = []
        for _ in range(batches):
            features = step.clip.model.encode_image(step.images)
            made.append(logits_of(features, full(step.method.prompt_learner()), step.clip.logit_scale))
        return {"logits": torch.cat(made)}

    setting = {"classes": classes, "batch": batch, "batches": batches, "n_ctx": args.n_ctx}
    return Case(f"CoOp evaluation, {classes} classes, batch {batch}", setting, ours, published, 2.5)
