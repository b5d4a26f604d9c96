"""What a plug-in must know of somebody else's CLIP trainer, and what of Dassl v0.6.3 is repaired around it."""

from __future__ import annotations

import os
import traceback
from contextlib import contextmanager
from functools import partial, reduce
from pickle import UnpicklingError
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy
import torch
from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP, load_clip
from dho_prompt.engine import build_lr_scheduler, load_checkpoint, load_pretrained_weights
from dho_prompt.engine.choose import WORKS_WITH


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
        node: ``NODE``; only read with ``precisions``.
    """

    def __init__(
        self,
        model: str = "model",
        image_encoder: str = "model.image_encoder",
        state: Sequence[str] = (),
        precisions: Sequence[str] = (),
        node: str = "",
    ) -> None:
        self.model_path, self.encoder_path = model, image_encoder
        self.state, self.precisions, self.node = tuple(state), tuple(precisions), node

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

    def student_clip(self, trainer: Any) -> LoadedCLIP:
        """The CLIP that the host started from: its text tower starts the KD head, and its sizes give the head's."""
        name = trainer.cfg.MODEL.BACKBONE.NAME
        weights = _archive_of_host(trainer.host, name) or trainer.cfg.MODEL.BACKBONE.WEIGHTS
        return load_clip(name, weights, "fp32", trainer.device)


class KDPLAdapter(Adapter):
    """KDPL's trainers (Mistretta et al., ECCV 2024), which distil a teacher of their own into ``self.student_model``.

    TRAINER.COOP.PREC sets the precision of all five, whatever their own nodes say.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__("student_model", "student_model.image_encoder", node="COOP", **more)

    def check(self, cfg: Any) -> None:
        super().check(cfg)
        if cfg.TRAINER.KDPL.CLASS_AGNOSTIC:
            raise ValueError(
                "TRAINER.KDPL.CLASS_AGNOSTIC is True: the host then gives logits of its dictionary's classes, the KD "
                "head those of the data set, and the two cannot be mixed; set it to False"
            )


ADAPTERS: Dict[str, Adapter] = {
    # averages its weights over epochs (GPA); its second CLIP stays in half precision whatever PREC says
    "PromptSRC": Adapter(state=("step_counter", "previous_model_gpa"), precisions=("fp16",), node="PROMPTSRC"),
    # part of its layers is made in half precision whatever PREC says
    "MaPLe": Adapter(precisions=("fp16",), node="MAPLE"),
    # its step in PREC amp forgets to ask the model for a loss
    "VPT": Adapter(precisions=("fp16", "fp32"), node="VPT"),
    "CoOp_KDPL": KDPLAdapter(),
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
        f'with_dho({trainer.host.__name__}, dho_prompt.plugin.Adapter({what}="<attribute path>")), whose docstring '
        "shows how"
    )


def _archive_of_host(host: type, name: str) -> str:
    """The file that a host with a vendored OpenAI clip loaded its weights from, or ""."""
    clip = host.build_model.__globals__.get("clip")
    if name in getattr(clip, "_MODELS", {}) and hasattr(clip, "_download"):
        return clip._download(clip._MODELS[name])
    return ""


# Repairs

REPAIRS = {
    "build_lr_scheduler": build_lr_scheduler,
    "load_pretrained_weights": load_pretrained_weights,
}
WHY = {
    "build_lr_scheduler": "Dassl's stands still after a resume with warm-up, and is not built on torch 2.7 and later",
    "load_checkpoint": "Dassl's runs what is pickled in a file, and on torch 2.6 and later does not open its own files",
    "load_pretrained_weights": "Dassl's reads by its load_checkpoint",
}


@contextmanager
def repaired(host: type, method: str, read: Optional[Dict[str, Any]] = None) -> Iterator[None]:
    """While ``method`` of a host runs, the modules that define it see our schedules and checkpoint reader.

    Only names that stand for Dassl's own functions are replaced, in the globals of those modules, and put back
    afterwards; nothing of the host or of Dassl is edited.

    Args:
        host: the trainer class.
        method: one of its methods.
        read: checkpoints by absolute path that the reader gives as they are here, cut to the classes of a data set.
    """
    done: List[Tuple[dict, str, Any]] = []
    try:
        for namespace in _namespaces(host, method):
            for name, ours in {**REPAIRS, "load_checkpoint": partial(_read_once, read or {})}.items():
                theirs = namespace.get(name)
                if (getattr(theirs, "__module__", None) or "").split(".")[0] == "dassl":
                    done.append((namespace, name, theirs))
                    namespace[name] = ours
        if done:
            reasons = "; ".join(f"{name} ({WHY[name]})" for name in sorted({name for _, name, _ in done}))
            print(f"dho_prompt stands in, during {host.__name__}.{method}, for {reasons}")
        yield
    finally:
        for namespace, name, theirs in done:
            namespace[name] = theirs


def _read_once(read: Dict[str, Any], fpath: str) -> Any:
    return read[os.path.abspath(fpath)] if os.path.abspath(fpath) in read else load_checkpoint(fpath, weights=True)


def _namespaces(host: type, method: str) -> List[dict]:
    """Globals of the modules whose classes define ``method`` for the host, without Dassl's own."""
    functions = [vars(cls)[method] for cls in host.__mro__ if method in vars(cls)]
    spaces = [getattr(function, "__globals__", {}) for function in functions]
    return list({id(space): space for space in spaces if space.get("__name__", "").split(".")[0] != "dassl"}.values())


LIBRARIES = ("torch", "torchvision", "numpy", "PIL", "scipy", "sklearn", "yacs", "contextlib", "pickle", "functools")


@contextmanager
def dassl_may_break(host: type) -> Iterator[None]:
    """Say which versions work when Dassl's own code meets a library that has changed under it.

    Raises:
        RuntimeError: an error of the kind that a changed library causes, and Dassl's code is the innermost that it came
            through, libraries aside.
    """
    try:
        yield
    except (TypeError, AttributeError, ImportError, NameError, UnpicklingError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        names = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in frames]
        name, function = [name for name in names if name[0].split(".")[0] not in LIBRARIES][-1]
        if not name.startswith("dassl."):
            raise
        raise RuntimeError(
            f"Dassl breaks in {name}.{function} under {host.__name__} ({type(error).__name__}: {error}), with torch "
            f"{torch.__version__} and numpy {numpy.__version__}. {WORKS_WITH}; what is known to break is stood in for, "
            "and this is not"
        ) from error


@contextmanager
def gpu_needed(host: type) -> Iterator[None]:
    """Say so when the host's own code calls for a GPU, or for float16 that only a GPU has here, and there is none."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if not torch.cuda.is_available() and ("CUDA" in str(error) or "NVIDIA" in str(error)):
            raise ValueError(
                f"{host.__name__} moves tensors to a GPU in its own code, which DHO leaves as it is, and PyTorch finds "
                f"no GPU here ({str(error).splitlines()[0]}); run it on a machine with one"
            ) from error
        if "implemented for 'Half'" in str(error):
            raise ValueError(
                f"{host.__name__} computes in float16 here, which torch {torch.__version__} cannot do on the CPU "
                f"({str(error).splitlines()[0]}); use a GPU, a newer torch, or fp32 where the host has it"
            ) from error
        raise
