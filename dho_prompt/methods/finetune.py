"""Finetuning: the student's weights are trained together with a head (students of Tables 1, 4, 12 in the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dho_prompt.config import HEAD_STARTS, HEADS, Setting, declare
from dho_prompt.config.ranges import SWITCH, Items, Number, Text
from dho_prompt.methods.base import Method, MethodOutput
from dho_prompt.students.base import Student
from dho_prompt.students.networks import has_batch_statistics

PASSES = ("one", "two")

declare(
    "TRAINER.FINETUNE",
    {
        "PREC": Setting("fp32", "fp32 or amp (autocast); trained weights stay in fp32", ("fp32", "amp")),
        "HEAD": Setting("linear", "CE head: linear (Sec. 3.2), cosine, or nonlinear (App. E.2)", (*HEADS, "nonlinear")),
        "HEAD_INIT": Setting(
            "language", "language (class text features, Table 5; a CLIP's student has them) or kaiming", HEAD_STARTS
        ),
        "PASSES": Setting(
            "one",
            "labelled and unlabelled images in one forward pass, with common batch statistics, or in two",
            PASSES,
        ),
        "MODULES": Setting(
            (),
            "parts of the network that are trained, such as ('layer4',); the rest stays as it is, its batch statistics "
            "too",
            Items(Text(1), 0, 1000, "distinct"),
        ),
        "DROP_PATH": Setting(0.0, "rate of stochastic depth, for timm's networks", Number(0, 1, open_most=True)),
        "CHECKPOINT_ACTIVATIONS": Setting(
            False, "compute activations again in the backward pass, which takes less memory and more time", SWITCH
        ),
    },
)


class FinetuneMethod(Method):
    """A trained network and a head.

    Args:
        student: the network; what it calls trainable is trained.
        head: (batch, d) un-normalised features -> (batch, classes) logits.
        passes: ``one`` gives a network with batch statistics labelled and unlabelled images together: both heads then
            see features under the same statistics, in training as in tests. ``two`` gives them one after the other,
            which updates the running statistics twice. The paper does not say; its code does the former on ImageNet
            and the latter on the other data sets. Without batch statistics the two are equal, and one pass is made.
        modules: names of the parts of the network that are trained; () for all.

    Raises:
        ValueError: the network has no part of such a name.
    """

    class_bound = ("ce_head",)

    def __init__(self, student: Student, head: nn.Module, passes: str = "one", modules: Sequence[str] = ()) -> None:
        super().__init__(student)
        if passes not in PASSES:
            raise ValueError(f"passes is {passes!r}; allowed are {', '.join(PASSES)}")
        self.head = head
        networks = student.trainable().values()
        self._frozen = [part for network in networks for part in frozen_parts(network, modules)]
        self.two_passes = passes == "two" and any(map(has_batch_statistics, networks))

    def trainable(self) -> dict[str, nn.Module]:
        return {**self.student.trainable(), "ce_head": self.head}

    def encode_image(self, images: Tensor) -> Tensor:
        for part in self._frozen:
            part.training = False  # a trainer switches whole networks
        return self.student(images)

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)

    def forward(self, images: Tensor, labelled: int | None = None, all_logits: bool = False) -> MethodOutput:
        if not (self.two_passes and torch.is_grad_enabled() and labelled is not None and 0 < labelled < len(images)):
            return super().forward(images, labelled, all_logits)
        features = torch.cat([self.encode_image(images[:labelled]), self.encode_image(images[labelled:])])
        logits = self.logits(features if all_logits else features[:labelled])
        return MethodOutput(features, logits[:labelled], {}, logits[labelled:] if all_logits else None)


def frozen_parts(network: nn.Module, modules: Sequence[str]) -> list[nn.Module]:
    """Let only some parts of a network be trained.

    Args:
        network: changed in place.
        modules: names of the trained parts, as of :meth:`torch.nn.Module.named_modules`; () for all.

    Returns:
        The modules outside of them, which are to stay in evaluation mode.

    Raises:
        ValueError: there is no such part.
    """
    if not modules:
        return []
    parts = dict(network.named_modules())
    unknown = [name for name in modules if not name or name not in parts]
    if unknown:
        children = ", ".join(name for name, _ in network.named_children())
        raise ValueError(
            f"TRAINER.FINETUNE.MODULES names {', '.join(map(repr, unknown))}, which the network has not; its parts "
            f"are {children}, and those inside them with a dot between"
        )
    trained = {id(inner) for name in modules for inner in parts[name].modules()}
    network.requires_grad_(False)
    for name in modules:
        parts[name].requires_grad_(True)
    return [part for part in parts.values() if id(part) not in trained]
