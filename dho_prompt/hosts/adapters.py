"""Where somebody else's CLIP trainer keeps the parts that DHO joins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP, clip_of_weights, load_clip
from dho_prompt.hosts.clips_seen import weights_in


class Adapter:
    """Where DHO finds its parts in a host's trainer. The defaults fit CoOp, CoCoOp, MaPLe, IVLP and their relatives.

    Another host needs a few lines: name what differs, or override a method.

    Example: a trainer whose step calls ``self.net``, whose image tower ``self.net.backbone.vision`` returns (features,
    tokens), and which averages its weights over the epochs in ``self.average``::

        class NetAdapter(Adapter):
            def features(self, output):
                return output[0]

        with_dho(NetTrainer, NetAdapter(model="net", image_encoder="net.backbone.vision", state=("average",)))

    Args:
        model: attribute path, from the trainer, of the module that the step calls; its output, in training, must lead
            to the loss, and in evaluation be the logits (batch, classes). A loss that the host computes beside that
            output, such as a penalty on parameters, keeps its own weight in place of lambda; none of the known hosts
            has one.
        image_encoder: attribute path of the image tower: a module called with images (and whatever else) within
            ``model``. Its first call in a step sees the labelled batch.
        state: attributes of the trainer, tensors and plain values (or dicts and lists of them), that an exact resume
            needs besides the registered models.
        precisions: values of ``cfg.TRAINER.<NODE>.PREC`` that the host's own code can run; () for any.
        node: ``NODE``; only read with ``precisions`` and ``class_bound``.
        class_bound: whether the host trains something with a row for each class: False, or the key of
            ``cfg.TRAINER.<NODE>`` that says so (CoOp: ``CSC``). None looks for a trained weight with as many rows as
            there are classes.
    """

    def __init__(
        self,
        model: str = "model",
        image_encoder: str = "model.image_encoder",
        state: Sequence[str] = (),
        precisions: Sequence[str] = (),
        node: str = "",
        class_bound: bool | str | None = None,
    ) -> None:
        self.model_path, self.encoder_path = model, image_encoder
        self.state, self.precisions, self.node, self.class_bound = tuple(state), tuple(precisions), node, class_bound

    def check(self, cfg: Any) -> None:
        """Refuse settings under which the host's own code breaks, before it does."""
        precision = cfg.TRAINER.get(self.node, {}).get("PREC")
        if self.precisions and precision is not None and precision not in self.precisions:
            raise ValueError(
                f"TRAINER.{self.node}.PREC is {precision!r}, in which the host's own code does not "
                f"run; it runs in {', '.join(self.precisions)}"
            )

    def model(self, trainer: Any) -> nn.Module:
        """The module that the step calls."""
        return _module_at(trainer, self.model_path, "model")

    def image_encoder(self, trainer: Any) -> nn.Module:
        """The image tower within it."""
        return _module_at(trainer, self.encoder_path, "image_encoder")

    def features(self, output: Any) -> Tensor:
        """(batch, d) image features in the image tower's output, un-normalised or not."""
        return output

    @property
    def predicts(self) -> bool:
        """Whether :meth:`logits` is the adapter's own, so that it stands in for a test that the host has of its own."""
        return type(self).logits is not Adapter.logits

    def logits(self, trainer: Any, images: Tensor) -> Tensor:
        """(batch, classes) the host's logits of test images, by a call of its image tower.

        Override it for a host whose ``test`` computes them in place of ``model_inference``; Dassl's test runs then.
        """
        return trainer.host.model_inference(trainer, images)

    def is_class_bound(self, trainer: Any, model: nn.Module) -> bool:
        """Whether a registered model trains something with a row for each class."""
        if isinstance(self.class_bound, str):
            node = trainer.cfg.TRAINER[self.node]
            return bool(node[self.class_bound]) and not node.get("CTX_INIT")  # words are one context for all classes
        if self.class_bound is not None:
            return self.class_bound
        trained = [weight for weight in model.parameters() if weight.requires_grad and weight.dim() > 1]
        return any(len(weight) == trainer.num_classes for weight in trained)

    def student_clip(self, trainer: Any) -> LoadedCLIP:
        """The CLIP that the host started from: its text tower starts the KD head, and its sizes give the head's.

        It is the one whose weights the host gave OpenAI's builder, whatever its size; a host that builds another way
        started from that of MODEL.BACKBONE.
        """
        node, device = trainer.cfg.MODEL.BACKBONE, trainer.device
        weights = weights_in(trainer.clips_seen, self.image_encoder(trainer))
        if weights is not None:
            return clip_of_weights(weights, node.NAME, f"what {trainer.host.__name__} loaded", device)
        return load_clip(node.NAME, node.WEIGHTS, "fp32", device)


class KDPLAdapter(Adapter):
    """KDPL's trainers (Mistretta et al., ECCV 2024), which distil a teacher of their own into ``self.student_model``.

    TRAINER.COOP.PREC sets the precision of all five, whatever their own nodes say.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__("student_model", "student_model.image_encoder", node="COOP", **{"class_bound": False, **more})

    def check(self, cfg: Any) -> None:
        super().check(cfg)
        if cfg.TRAINER.KDPL.CLASS_AGNOSTIC:
            raise ValueError(
                "TRAINER.KDPL.CLASS_AGNOSTIC is True: the host then gives logits of its dictionary's classes, the KD "
                "head those of the data set, and the two cannot be mixed; set it to False"
            )


class PromptKDAdapter(Adapter):
    """PromptKD (Li et al., CVPR 2024): its test takes the text features of the teacher that it distils."""

    def check(self, cfg: Any) -> None:
        super().check(cfg)
        if cfg.TRAINER.MODAL != "cross":
            raise ValueError(f"TRAINER.MODAL is {cfg.TRAINER.MODAL!r}, whose test takes half of the classes; use cross")

    def logits(self, trainer: Any, images: Tensor) -> Tensor:
        text_features = trainer.model_teacher(images)[1]
        image_features, scale = trainer.model(images)
        return scale * image_features @ text_features.t()


class FirstOutput(Adapter):
    """For image towers that return the image features first, then others: PLOT (Chen et al., ICLR 2023) and MMRL."""

    def features(self, output: Any) -> Tensor:
        return output[0]


class MMRLAdapter(FirstOutput):
    """MMRL (Guo and Gu, CVPR 2025): its test takes the fused logits for the classes that it was trained on."""

    def fused(self, cfg: Any) -> bool:
        """Whether its test of this data set takes the fused logits or those of the class token."""
        by_task = {"B2N": cfg.DATASET.SUBSAMPLE_CLASSES == "base", "FS": True, "CD": cfg.DATASET.NAME == "ImageNet"}
        if cfg.TASK not in by_task:
            raise ValueError(f"TASK is {cfg.TASK!r}; MMRL's test knows {', '.join(by_task)}")
        return by_task[cfg.TASK]

    def check(self, cfg: Any) -> None:
        super().check(cfg)
        self.fused(cfg)

    def logits(self, trainer: Any, images: Tensor) -> Tensor:
        return trainer.model(images)[2 if self.fused(trainer.cfg) else 0]


ADAPTERS: dict[str, Adapter] = {
    "CoOp": Adapter(node="COOP", class_bound="CSC"),
    "CoCoOp": Adapter(class_bound=False),
    "IVLP": Adapter(class_bound=False),
    # averages its weights over epochs (GPA); its second CLIP stays in half precision whatever PREC says
    "PromptSRC": Adapter(
        state=("step_counter", "previous_model_gpa"), precisions=("fp16",), node="PROMPTSRC", class_bound=False
    ),
    # part of its layers is made in half precision whatever PREC says
    "MaPLe": Adapter(precisions=("fp16",), node="MAPLE", class_bound=False),
    # its step in PREC amp forgets to ask the model for a loss
    "VPT": Adapter(precisions=("fp16", "fp32"), node="VPT", class_bound=False),
    "PromptKD": PromptKDAdapter(precisions=("fp16",), node="PROMPTKD", class_bound=False),
    "PLOT": FirstOutput(node="PLOT", class_bound="CSC"),
    "MMRL": MMRLAdapter(class_bound=False),
    "CoOp_KDPL": KDPLAdapter(class_bound="CSC"),
    "CoCoOp_KDPL": KDPLAdapter(),
    "VPT_KDPL": KDPLAdapter(),
    "MaPLe_KDPL": KDPLAdapter(precisions=("fp16",)),
    "PromptSRC_KDPL": KDPLAdapter(precisions=("fp16",), state=("step_counter", "previous_model_gpa")),
}


def adapter_for(host: type) -> Adapter:
    """The adapter of a family known by the trainer's name, else the one with the defaults."""
    return ADAPTERS.get(host.__name__, Adapter())


def _module_at(trainer: Any, path: str, what: str) -> nn.Module:
    try:
        module = reduce(getattr, path.split("."), trainer)
    except AttributeError:
        module = None
    if isinstance(module, nn.Module):
        return module
    raise ValueError(
        f"{trainer.host.__name__} has no module self.{path}, where DHO looks for its {what}; pass "
        f'with_dho({trainer.host.__name__}, dho_prompt.hosts.adapters.Adapter({what}="<attribute path>")), whose '
        "docstring shows how"
    )
