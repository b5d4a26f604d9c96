"""Somebody else's trainer with the KD loss in its step and the KD head in its predictions.

The host's step runs unchanged; the KD loss joins its graph and is back-propagated by its own ``backward`` (see
:mod:`dho_prompt.hosts.injection`), so that parameters receive the gradient of ``lambda * (the host's loss) +
(1 - lambda) * (KD on labelled + KD on unlabelled)`` (Eq. 6-7). What the host adds to its cross-entropy belongs to the
first term.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.config import check_extended
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.batches.views import SharedCrop
from dho_prompt.distill.base import KD_HEAD, Terms
from dho_prompt.distill.dho import DHO
from dho_prompt.engine import load_strictly
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.hosts.adapters import Adapter
from dho_prompt.hosts.errors import dassl_may_break, gpu_needed
from dho_prompt.hosts.head_rate import RisingLoss, safe_rate
from dho_prompt.hosts.injection import FeatureTap, add_loss, outputs_changed
from dho_prompt.hosts.own import check_same_view, defines, on_device, report_skipped
from dho_prompt.hosts.refused import refuse_settings
from dho_prompt.hosts.repairs import repaired
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.training.build_teacher import teaches_nothing
from dho_prompt.training.loaders import shared_crop
from dho_prompt.training.run import Run


class HostTrainer(Run):
    """DHO around a host's own methods, seen through an adapter; :func:`with_dho` puts it before the host's class.

    What the host does itself is called by its name, as ``self.host.build_model(self)``.
    """

    distils = True
    host: type
    adapter: Adapter
    objective: DHO
    _host_models_only = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with dassl_may_break(self.host):
            super().__init__(*args, **kwargs)

    def train(self, *args: Any) -> None:
        with dassl_may_break(self.host):
            super().train(*args)

    # Configuration and data

    def check_cfg(self, cfg: Any) -> None:
        check_extended(cfg)
        if torch.cuda.device_count() > 1 and cfg.USE_CUDA:
            raise ValueError(
                f"{torch.cuda.device_count()} GPUs are visible, on which {self.host.__name__} would run in "
                "DataParallel; DHO joins its step on one only: set CUDA_VISIBLE_DEVICES to one"
            )
        if cfg.OPTIM.get("SCHEDULE_BY", "epoch") != "epoch":
            raise ValueError(
                "OPTIM.SCHEDULE_BY is iteration, but the host's trainer changes its learning rate by epoch"
            )
        refuse_settings(cfg, self.host.__name__)
        self.adapter.check(cfg)
        super().check_cfg(cfg)

    def read_data(self) -> SharedCrop:
        """The host's loaders, whose training images are cropped by a transform that gives the teacher's view too."""
        self.host.build_data_loader(self)
        if not hasattr(self, "dm"):
            raise ValueError(f"{self.host.__name__}.build_data_loader does not set self.dm, which DHO reads")
        crop, images = shared_crop(self.cfg), self.train_loader_x.dataset
        check_same_view(crop, images.transform)
        images.transform = crop
        return crop

    def batches_without_pool(self) -> PairLoader:
        """With lambda 1 the host's own epoch, else as many batches as with a pool."""
        return PairLoader(self.train_loader_x, None) if teaches_nothing(self.cfg) else super().batches_without_pool()

    # Parts

    def build_method(self) -> CLIPStudent:
        with repaired(self.host, "build_model"), gpu_needed(self.host):
            self.host.build_model(self)
        if isinstance(self.adapter.model(self), nn.DataParallel):
            raise ValueError(f"{self.host.__name__} put its model in DataParallel; DHO joins a step on one device only")
        self.tap = FeatureTap(self.adapter.image_encoder(self))
        for attribute in self.adapter.state:
            if not hasattr(self, attribute):
                raise ValueError(f"{self.host.__name__} has no self.{attribute}, which its adapter names as its state")
        with untouched_rng():
            return CLIPStudent(self.adapter.student_clip(self))

    def precision(self, cfg: Any) -> str:
        """Of the image tower's weights: fp32, fp16 or bf16."""
        weights = next(weight for weight in self.adapter.image_encoder(self).parameters() if weight.dim() > 1)
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(weights.dtype, "fp32")

    @property
    def class_bound(self) -> Sequence[str]:
        """The host's models that train something with a row for each class, such as CoOp's class-specific contexts."""
        own = [name for name in self.get_model_names() if name != KD_HEAD]
        return [name for name in own if self.adapter.is_class_bound(self, self._models[name])]

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

    # Training

    def before_train(self) -> None:
        super().before_train()
        if teaches_nothing(self.cfg):
            print("TRAINER.DHO.LAMBDA is 1: the KD head is not trained, and no unlabelled image is read")

    def _take_teacher(self) -> None:
        super()._take_teacher()
        self._kd_loss = RisingLoss()
        limit = safe_rate(self.objective.head, self.objective.loss, 2 if self.pool else 1, self.cfg.OPTIM)
        rate = self.cfg.OPTIM.LR
        if not self.cfg.TRAINER.DHO.HEAD_LR and limit < rate:
            print(
                f"The KD head learns at {limit:.2g}: OPTIM.LR {rate:g} can overshoot; TRAINER.DHO.HEAD_LR sets another"
            )
            self.build_optimizer(KD_HEAD, limit)

    def after_epoch(self) -> None:
        if not teaches_nothing(self.cfg):
            self._kd_loss.end_epoch(self._optims[KD_HEAD].param_groups[0]["initial_lr"])
        super().after_epoch()

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The host's step with the KD loss in its backward pass; the log gains ``loss_kd_x`` and ``loss_kd_u``."""
        if teaches_nothing(self.cfg):
            with self.host_models_only(), gpu_needed(self.host):
                return super().forward_backward(batch)
        joined: list[Terms] = []
        scale = self._gradient_scale()
        supervised, distilled = self.objective.loss.weights
        self._optims[KD_HEAD].zero_grad()

        def join(output: Any) -> Any:
            if not torch.is_grad_enabled():
                return output
            loss = None
            if not joined:  # a second call of the model in the same step only weights its gradients
                joined.append(self._distilled(batch))
                loss = joined[0].total
                self.detect_anomaly(loss)
            return add_loss(output, loss, supervised, distilled * scale, shared=self._features().requires_grad)

        hooks = outputs_changed(self.adapter.model(self), join)
        with self.host_models_only(), gpu_needed(self.host), self.tap, hooks:
            summary = super().forward_backward(batch)
        self._update_head(scale)
        self._kd_loss.add(joined[0].total.item())
        return {**summary, **{name: term.item() for terms in joined for name, term in terms.parts.items()}}

    def _gradient_scale(self) -> float:
        scaler = getattr(self, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None and scaler.is_enabled() else 1.0

    def _distilled(self, batch: dict[str, Any]) -> Terms:
        features = self._features()
        labelled = len(batch["label"])
        if len(features) != labelled:
            raise ValueError(
                f"the image tower of {self.host.__name__} was first called with {len(features)} images in a step on "
                f"{labelled} labelled ones; DHO needs that call to be the labelled batch"
            )
        teacher_logits = self.teacher(Batch(batch, self.crop, self.device))
        if "img_u" in batch:
            with torch.set_grad_enabled(features.requires_grad):  # a frozen tower needs no graph
                output = self.tap.encode(batch["img_u"])
            features = torch.cat([features, self._checked(output, len(batch["img_u"]))])
        with torch.autocast(features.device.type, enabled=False):
            return self.objective.distilled(features, teacher_logits, labelled)

    def _features(self) -> Tensor:
        """(batch, d) image features of the call that the tap kept."""
        if self.tap.call is None:
            raise ValueError(
                f"the image tower of {self.host.__name__} ({type(self.tap.encoder).__name__}) was not called; its "
                "adapter must name the one that is"
            )
        return self._checked(self.tap.call.output, len(self.tap.call.images))

    def _checked(self, output: Any, batch: int) -> Tensor:
        features = self.adapter.features(output)
        expected = (batch, self.objective.head.weight.shape[1])
        if not isinstance(features, Tensor) or tuple(features.shape) != expected:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the image tower of {self.host.__name__} gives {shape}, the KD head takes {expected}; write an "
                "adapter whose features() returns the image features"
            )
        return features

    def _update_head(self, scale: float) -> None:
        """One step of the head's optimiser, and of its schedule on the epoch's last batch."""
        gradients = [weight.grad for weight in self.objective.head.parameters() if weight.grad is not None]
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

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        with self.tap:
            host_logits = self.adapter.logits(self, images)
        logits = self.objective.logits(self._features(), host_logits)
        shape = (len(images), self.num_classes)
        if not isinstance(host_logits, Tensor) or tuple(host_logits.shape) != shape:
            raise ValueError(
                f"{self.host.__name__}.model_inference must return logits of shape {shape} (batch, classes) to be "
                "mixed with the KD head's; else an adapter's logits(trainer, images) gives them"
            )
        return logits

    # Checkpoints

    def large_state(self) -> dict[str, Any]:
        return {**super().large_state(), "host": {name: getattr(self, name) for name in self.adapter.state}}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        for name, value in state.get("host", {}).items():
            setattr(self, name, on_device(self.device, value))

    def load_weights(self, directory: str, epoch: int | None) -> None:
        """The host's own way for the host's models; the KD head strictly, and only for the classes it was trained on.

        With TRAINER.DHO.ALPHA 1 the run may be one of the host alone, which has no KD head.

        Raises:
            FileNotFoundError: a model has no such file.
            ValueError: the KD head is of other classes or another size, or a host's file has nothing for its model.
        """
        if directory and self.objective.mix["alpha"] == 1 and not os.path.isdir(os.path.join(directory, KD_HEAD)):
            print(
                f"{directory} has no {KD_HEAD}: with TRAINER.DHO.ALPHA 1 {self.host.__name__}'s prediction does alone"
            )
            self.objective.has_head = False
            with self.host_models_only():
                self._load(directory, epoch)
        else:
            self._load(directory, epoch)

    def _load(self, directory: str, epoch: int | None) -> None:
        if not directory or not defines(self.host, "load_model"):
            super().load_weights(directory, epoch)
            return
        checkpoints = self.checked_checkpoints(directory, epoch)
        own = {name: found for name, found in checkpoints.items() if name != KD_HEAD}
        for name, (path, checkpoint) in own.items():
            report_skipped(self._models[name], checkpoint["state_dict"], path)
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
