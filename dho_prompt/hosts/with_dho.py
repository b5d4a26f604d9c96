"""DHO on somebody else's Dassl-style CLIP trainer, as it stands.

The host's step runs unchanged; the KD loss joins its graph and is back-propagated by its own ``backward`` (see
:mod:`dho_prompt.hosts.injection`), so that parameters receive the gradient of ``lambda * (the host's loss) +
(1 - lambda) * (KD on labelled + KD on unlabelled)`` (Eq. 6-7). What the host adds to its cross-entropy belongs to the
first term.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

import torch
from PIL import Image
from torch import Tensor, nn

from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.batches.views import SHARED_TRANSFORMS, SharedCrop, View
from dho_prompt.engine import ENGINE, TRAINER_REGISTRY, Resumable, load_strictly
from dho_prompt.engine import TrainerX as OurTrainerX
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.hosts.adapters import Adapter, adapter_for
from dho_prompt.hosts.errors import dassl_may_break, gpu_needed
from dho_prompt.hosts.injection import FeatureTap, add_loss, outputs_changed
from dho_prompt.hosts.repairs import repaired
from dho_prompt.losses import kd_divergence
from dho_prompt.pathway import KD_HEAD, DHORun
from dho_prompt.runs.evaluation import EvaluatedRun
from dho_prompt.runs.record import RecordedRun

IGNORED_BY_HOSTS = ("token_prefix", "token_suffix")  # CoOp's family saves these and does not load them


def with_dho(host: type, adapter: Optional[Adapter] = None, name: Optional[str] = None) -> type:
    """A trainer class that is ``host`` with the DHO pathway: KD head, unlabelled images, teacher, mix at inference.

    With TRAINER.DHO.LAMBDA 1 and ALPHA 1 it trains and predicts exactly as ``host`` does.

    Args:
        host: a trainer class on Dassl's TrainerX: CoOp, CoCoOp, MaPLe, PromptSRC, IVLP, VPT or a relative.
        adapter: where the host keeps its model and image tower, if not in ``self.model.image_encoder``.
        name: what TRAINER.NAME selects it by; default the host's name followed by DHO.

    Returns:
        The new class, registered.

    Raises:
        ValueError: ``host`` is no trainer of labelled batches on the engine in use, has DHO already, or the name is
            taken.

    Example: in the host's train.py, behind its imports, and in ``setup_cfg`` behind its own ``extend_cfg(cfg)``::

        from dho_prompt import extend_cfg as extend_cfg_dho, with_dho
        with_dho(trainers.coop.CoOp)  # --trainer CoOpDHO

        extend_cfg_dho(cfg)
    """
    engine_trainer = next(cls for cls in OurTrainerX.__mro__[1:] if cls.__name__ == "TrainerX")
    if not (isinstance(host, type) and issubclass(host, engine_trainer)):
        raise ValueError(
            f"with_dho takes a trainer class that extends TrainerX of the engine in use ({ENGINE}, "
            f"{engine_trainer.__module__}), not {host!r}"
        )
    if issubclass(host, DHORun):
        raise ValueError(f"{host.__name__} has the DHO pathway already")
    name = f"{host.__name__}DHO" if name is None else name
    if name in TRAINER_REGISTRY.registered_names():
        taken = TRAINER_REGISTRY.get(name)
        raise ValueError(
            f"a trainer named {name} is registered already ({taken.__module__}.{taken.__qualname__}); choose another "
            f'by with_dho({host.__name__}, name="...")'
        )
    members = {
        "__doc__": f"{host.__name__} with the DHO pathway (:func:`dho_prompt.hosts.with_dho.with_dho`).",
        "__module__": __name__,
        "host": host,
        "adapter": adapter_for(host) if adapter is None else adapter,
    }
    plugged = type(name, (HostWithDHO, host), members)
    TRAINER_REGISTRY._do_register(name, plugged)
    return plugged


class HostSide(RecordedRun):
    """The host's trainer, seen through an adapter, with our records; before :class:`Resumable` and the host's class."""

    host: type
    adapter: Adapter
    _host_models_only = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with dassl_may_break(self.host):
            super().__init__(*args, **kwargs)

    def train(self, *args: Any) -> None:
        with dassl_may_break(self.host):
            super().train(*args)

    def check_cfg(self, cfg: Any) -> None:
        if "DHO" not in cfg.TRAINER:
            raise ValueError(
                "the configuration has no TRAINER.DHO; call dho_prompt.extend_cfg(cfg) where the host's train.py calls "
                "its own extend_cfg(cfg)"
            )
        if torch.cuda.device_count() > 1 and cfg.USE_CUDA:
            raise ValueError(
                f"{torch.cuda.device_count()} GPUs are visible, on which {self.host.__name__} would run in "
                "DataParallel; DHO joins its step on one only: set CUDA_VISIBLE_DEVICES to one"
            )
        if cfg.DATALOADER.K_TRANSFORMS != 1:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {cfg.DATALOADER.K_TRANSFORMS}; DHO takes 1")
        if cfg.OPTIM.get("SCHEDULE_BY", "epoch") != "epoch":
            raise ValueError(
                "OPTIM.SCHEDULE_BY is iteration, but the host's trainer changes its learning rate by epoch"
            )
        self.adapter.check(cfg)
        super().check_cfg(cfg)

    def build_data_loader(self) -> None:
        super().build_data_loader()
        if not hasattr(self, "dm"):
            raise ValueError(f"{self.host.__name__}.build_data_loader does not set self.dm, which DHO reads")
        self.know_data()
        node = self.cfg.INPUT
        student = View(node.SIZE[0], tuple(node.PIXEL_MEAN), tuple(node.PIXEL_STD))
        self.crop = SharedCrop(student, None, node.TRANSFORMS, node.RRCROP_SCALE, node.INTERPOLATION)
        images = self.train_loader_x.dataset
        check_same_view(self.crop, images.transform)
        images.transform = self.crop

    def build_model(self) -> None:
        with repaired(self.host, "build_model"), gpu_needed(self.host):
            super().build_model()
        if isinstance(self.adapter.model(self), nn.DataParallel):
            raise ValueError(f"{self.host.__name__} put its model in DataParallel; DHO joins a step on one device only")
        self.tap = FeatureTap(self.adapter.image_encoder(self))
        for attribute in self.adapter.state:
            if not hasattr(self, attribute):
                raise ValueError(f"{self.host.__name__} has no self.{attribute}, which its adapter names as its state")

    def precision(self, cfg: Any) -> str:
        """Of the image tower's weights: fp32, fp16 or bf16."""
        weights = next(weight for weight in self.adapter.image_encoder(self).parameters() if weight.dim() > 1)
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(weights.dtype, "fp32")

    @contextmanager
    def host_models_only(self) -> Iterator[None]:
        """What the host does to all registered models, it does to its own."""
        before, self._host_models_only = self._host_models_only, True
        try:
            yield
        finally:
            self._host_models_only = before

    def get_model_names(self, names: Any = None) -> Any:
        found = super().get_model_names(names)
        return [name for name in found if name != KD_HEAD] if self._host_models_only and names is None else found

    def update_lr(self, names: Any = None) -> None:
        with self.host_models_only():
            super().update_lr(names)

    @property
    def depends_on_classes(self) -> bool:
        """Whether the host trains something with a row for each class, such as CoOp's class-specific contexts."""
        weights = (
            weight for name in self.get_model_names() if name != KD_HEAD for weight in self._models[name].parameters()
        )
        return any(weight.requires_grad and weight.dim() > 1 and len(weight) == self.num_classes for weight in weights)

    def features(self) -> Tensor:
        """(batch, d) image features of the call that the tap kept."""
        if self.tap.call is None:
            raise ValueError(
                f"the image tower of {self.host.__name__} ({type(self.tap.encoder).__name__}) was not called; its "
                "adapter must name the one that is"
            )
        return self._checked_features(self.tap.call.output, len(self.tap.call.images))

    def _checked_features(self, output: Any, batch: int) -> Tensor:
        features = self.adapter.features(output)
        expected = (batch, self.kd_head.weight.shape[1])
        if not isinstance(features, Tensor) or tuple(features.shape) != expected:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the image tower of {self.host.__name__} gives {shape}, the KD head takes {expected}; write an "
                "adapter whose features() returns the image features"
            )
        return features

    def large_state(self) -> Dict[str, Any]:
        return {**super().large_state(), "host": {name: getattr(self, name) for name in self.adapter.state}}

    def load_extra_state(self, state: Dict[str, Any]) -> None:
        super().load_extra_state(state)
        for name, value in state.get("host", {}).items():
            setattr(self, name, _on(self.device, value))

    def load_model(self, directory: str, epoch: Optional[int] = None) -> None:
        """The host's own way for the host's models; the KD head strictly, and only for the classes it was trained on.

        With TRAINER.DHO.ALPHA 1 the run may be one of the host alone, which has no KD head.

        Raises:
            FileNotFoundError: a model has no such file.
            ValueError: the KD head is of other classes or another size, or a host's file has nothing for its model.
        """
        if directory and self.mix["alpha"] == 1 and not os.path.isdir(os.path.join(directory, KD_HEAD)):
            print(
                f"{directory} has no {KD_HEAD}: with TRAINER.DHO.ALPHA 1 {self.host.__name__}'s prediction does alone"
            )
            self.has_kd_head = False
            with self.host_models_only():
                self._load_model(directory, epoch)
        else:
            self._load_model(directory, epoch)

    def _load_model(self, directory: str, epoch: Optional[int]) -> None:
        if not directory or not _has_own(self.host, "load_model"):
            super().load_model(directory, epoch)
            return
        checkpoints = self.checked_checkpoints(directory, epoch)
        own = {name: found for name, found in checkpoints.items() if name != KD_HEAD}
        for name, (path, checkpoint) in own.items():
            _report_skipped(self._models[name], checkpoint["state_dict"], path)
        fitted = {os.path.abspath(path): checkpoint for path, checkpoint in own.values()}
        with repaired(self.host, "load_model", fitted), self.host_models_only():
            try:
                self.host.load_model(self, directory, epoch)
            except RuntimeError as error:  # torch's, about sizes
                raise ValueError(
                    f"{self.host.__name__} cannot load {directory} for the {self.num_classes} classes of "
                    f"{self.cfg.DATASET.NAME}: {error}. Evaluate the data set that it was trained on, with this one in "
                    "TEST.SHIFTED_SETS"
                ) from error
        if KD_HEAD in checkpoints:
            path, head = checkpoints[KD_HEAD]
            print(f"Load {path} to {KD_HEAD} (epoch={head['epoch']})")
            load_strictly(self._models[KD_HEAD], head, path)
        self.note_loaded(directory, epoch)


class HostWithDHO(DHORun, HostSide, Resumable):
    """DHO's step and inference around the host's; :func:`with_dho` puts this before the host's class."""

    def build_model(self) -> None:
        super().build_model()
        with untouched_rng():
            self.add_kd_head(self.adapter.student_clip(self))

    # Training

    def batches_without_pool(self) -> PairLoader:
        return PairLoader(self.train_loader_x, None) if self.dho_loss.lam == 1 else super().batches_without_pool()

    def before_train(self) -> None:
        super().before_train()
        if self.dho_loss.lam == 1:
            print("TRAINER.DHO.LAMBDA is 1: the KD head is not trained, and no unlabelled image is read")
            self.crop.hide("img_teacher")

    def forward_backward(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        """The host's step with the KD loss in its backward pass; the log gains ``loss_kd_x`` and ``loss_kd_u``."""
        if self.dho_loss.lam == 1:
            with self.host_models_only(), gpu_needed(self.host):
                return super().forward_backward(batch)
        terms: Dict[str, Tensor] = {}
        scale = self._gradient_scale()
        self._optims[KD_HEAD].zero_grad()

        def join(output: Any) -> Any:
            if not torch.is_grad_enabled():
                return output
            loss = None
            if not terms:  # a second call of the model in the same step only weights its gradients
                terms.update(self._kd_terms(batch))
                loss = terms["loss_kd_x"] + terms["loss_kd_u"]
                self.detect_anomaly(loss)
            return add_loss(output, loss, self.dho_loss.lam, (1 - self.dho_loss.lam) * scale)

        hooks = outputs_changed(self.adapter.model(self), join)
        with self.host_models_only(), gpu_needed(self.host), self.tap, hooks:
            summary = super().forward_backward(batch)
        self._update_head(scale)
        return {**summary, **{name: term.item() for name, term in terms.items()}}

    def _gradient_scale(self) -> float:
        scaler = getattr(self, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None and scaler.is_enabled() else 1.0

    def _kd_terms(self, batch: Dict[str, Any]) -> Dict[str, Tensor]:
        features = self.features()
        labelled = len(batch["label"])
        if len(features) != labelled:
            raise ValueError(
                f"the image tower of {self.host.__name__} was first called with {len(features)} images in a step on "
                f"{labelled} labelled ones; DHO needs that call to be the labelled batch"
            )
        teacher_logits = self.teacher(self._both(batch, "img_teacher" if "img_teacher" in batch else "img"))
        if "img_u" in batch:
            with torch.set_grad_enabled(features.requires_grad):  # a frozen tower needs no graph
                output = self.tap.encode(batch["img_u"])
            features = torch.cat([features, self._checked_features(output, len(batch["img_u"]))])
        with torch.autocast(features.device.type, enabled=False):
            kd_logits = self.kd_head(features)
            kd_x = self._kd(kd_logits[:labelled], teacher_logits[:labelled])
            kd_u = self._kd(kd_logits[labelled:], teacher_logits[labelled:])
        return {"loss_kd_x": kd_x, "loss_kd_u": kd_u}

    def _kd(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return kd_divergence(
            student_logits, teacher_logits, self.dho_loss.temperature, self.dho_loss.scale_by_temperature
        )

    def _update_head(self, scale: float) -> None:
        """One step of the head's optimiser, and of its schedule on the epoch's last batch."""
        gradients = [weight.grad for weight in self.kd_head.parameters() if weight.grad is not None]
        if not gradients:
            raise ValueError(
                f"{self.host.__name__}'s step did not back-propagate through the output of {self.adapter.model_path}, "
                "which DHO needs to join it; its adapter must name the module whose output leads to the loss"
            )
        if scale != 1:
            for gradient in gradients:
                gradient.div_(scale)
        if all(torch.isfinite(gradient).all() for gradient in gradients):  # an overflow is skipped, as by GradScaler
            self._optims[KD_HEAD].step()
        if self.batch_idx + 1 == self.num_batches:
            self._scheds[KD_HEAD].step()

    # Inference

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        with self.tap:
            ce_logits = super(EvaluatedRun, self).model_inference(images)  # the host's
        kd_logits = self.kd_head(self.features())
        if not isinstance(ce_logits, Tensor) or ce_logits.shape != kd_logits.shape:
            raise ValueError(
                f"{self.host.__name__}.model_inference must return logits of shape {tuple(kd_logits.shape)} "
                "(batch, classes) to be mixed with the KD head's"
            )
        return {"ce": ce_logits, "kd": kd_logits} if self.has_kd_head else {"ce": ce_logits}


def check_same_view(crop: SharedCrop, transform: Callable[[Image.Image], Any]) -> None:
    """Make sure that the student's view of ``crop`` is, bit for bit and draw for draw, what ``transform`` gives.

    Raises:
        ValueError: it is not, so that using ``crop`` in its place would change the host's images.
    """
    for width, height in ((67, 50), (40, 90)):
        pixels = (torch.arange(3 * height * width) * 7919 % 251).to(torch.uint8).reshape(height, width, 3)
        image = Image.fromarray(pixels.numpy())
        seen = []
        for view in (transform, lambda image: crop(image)["img"]):
            with untouched_rng():
                torch.manual_seed(0)
                seen.append((view(image) if callable(view) else None, torch.get_rng_state()))
        (theirs, their_draws), (ours, our_draws) = seen
        same = isinstance(theirs, Tensor) and theirs.shape == ours.shape and torch.equal(theirs, ours)
        if not same or not torch.equal(their_draws, our_draws):
            raise ValueError(
                f"the training transform is {transform}, which is not a crop that student and teacher can share; "
                f"INPUT.TRANSFORMS must be {SHARED_TRANSFORMS} (random_flip and normalize may be missing)"
            )


def _has_own(host: type, method: str) -> bool:
    """Whether a method is the host's, not the engine's."""
    defined = next((cls for cls in host.__mro__ if method in vars(cls)), None)
    return defined is not None and not defined.__module__.startswith(("dassl.", "dho_prompt.engine"))


def _report_skipped(model: nn.Module, weights: Dict[str, Tensor], path: str) -> None:
    """Hosts load what fits and are silent about the rest."""
    own = set(model.state_dict())
    given = set(weights)
    ignored = {key for key in own | given if key.endswith(IGNORED_BY_HOSTS)}
    if not (own & given) - ignored:
        raise ValueError(
            f"{path} has nothing for {type(model).__name__}: it holds {', '.join(sorted(given)[:4])}, the model "
            f"{', '.join(sorted(own)[:4])}; it is of another method"
        )
    for keys, where in ((own - given - ignored, "not in the file"), (given - own - ignored, "not in the model")):
        if keys:
            print(f"Warning: {path}: {len(keys)} entries are {where}: {', '.join(sorted(keys)[:6])}")


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return type(value)((key, _on(device, entry)) for key, entry in value.items())
    return type(value)(_on(device, entry) for entry in value) if isinstance(value, (list, tuple)) else value
