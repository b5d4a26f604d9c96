"""The DHO pathway on a method's trainer: KD head, teacher, unlabelled images, the two losses and the mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.config import HEAD_STARTS, HEADS, check_choice
from dho_prompt.data.batches.pair import PairLoader, UnlabelledImages
from dho_prompt.data.batches.views import View
from dho_prompt.data.choose.pool import every_training_image, labelled_batches, unlabelled_settings
from dho_prompt.data.classes import UnknownClasses
from dho_prompt.engine import compute_accuracy, read_image
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.files import read_json, write_json
from dho_prompt.heads import clip_head
from dho_prompt.inference import blend, search_mix
from dho_prompt.losses import DHOLoss
from dho_prompt.runs.evaluation import Prediction
from dho_prompt.teachers.prompts import PromptTeacher, load_prompts
from dho_prompt.teachers.zeroshot import ZeroShotTeacher
from dho_prompt.trainer import load_configured_clip, prompt_templates, weight_precision

POOLS = ("all", "exclude_labeled", "none")
MIX = "mix.json"
KD_HEAD = "kd_head"  # name of the registered model and of its checkpoint folder


class DHORun:
    """What every run with DHO has, whoever's trainer takes the steps: pool, KD head, teacher, mix, results.

    Mix into a trainer with :class:`~dho_prompt.runs.record.RecordedRun`, before it. The trainer sets :attr:`crop` in
    ``build_data_loader``, calls :meth:`add_kd_head` once its own models are registered, and has ``precision(cfg)``.

    The KD head is a model of its own (checkpoint folder ``kd_head``), so that the host method's checkpoints keep their
    keys. The teacher is loaded when training begins; evaluation does without it.
    """

    def check_cfg(self, cfg: Any) -> None:
        super().check_cfg(cfg)
        dho = cfg.TRAINER.DHO
        check_choice("TRAINER.DHO.UNLABELED", dho.UNLABELED, POOLS)
        check_choice("TRAINER.DHO.HEAD", dho.HEAD, HEADS)
        check_choice("TRAINER.DHO.HEAD_INIT", dho.HEAD_INIT, HEAD_STARTS)
        blend(torch.zeros(1, 1), torch.zeros(1, 1), dho.ALPHA, dho.BETA)  # names a value out of range
        self.dho_loss = DHOLoss(dho.LAMBDA, dho.TEMPERATURE, dho.SCALE_BY_TEMPERATURE)

    # Data

    def build_data_loader(self) -> None:
        super().build_data_loader()
        dho = self.cfg.TRAINER.DHO
        if dho.SEARCH and self.val_loader is None:
            raise ValueError(
                f"TRAINER.DHO.SEARCH needs a validation set, and {self.cfg.DATASET.NAME} has none; set it to False "
                f"to use TRAINER.DHO.ALPHA {dho.ALPHA} and TRAINER.DHO.BETA {dho.BETA}"
            )
        self.pool = self._unlabelled_pool()
        if self.pool:
            self.train_loader_x = PairLoader(self.train_loader_x, self._unlabelled_loader(), self.cfg.TRAIN.COUNT_ITER)
        else:
            self.train_loader_x = self.batches_without_pool()

    def batches_without_pool(self) -> PairLoader:
        """Labelled batches alone, as many as with a pool."""
        return labelled_batches(self.cfg, self.train_loader_x)

    def _unlabelled_pool(self) -> List[Any]:
        """Every training image of the data set's own class, or those that are not labelled (Alg. 1 line 7)."""
        which = self.cfg.TRAINER.DHO.UNLABELED
        if which == "none" or self.dho_loss.lam == 1:  # lambda 1 leaves the KD head untrained
            return []
        pool = every_training_image(self.cfg)
        if which == "exclude_labeled":
            labelled = {item.impath for item in self.dm.dataset.train_x}
            pool = [item for item in pool if item.impath not in labelled]
            if not pool:
                raise ValueError(
                    "TRAINER.DHO.UNLABELED is exclude_labeled, but every training image is labelled; use all or "
                    "none, or fewer DATASET.NUM_SHOTS"
                )
        return pool

    def _unlabelled_loader(self) -> DataLoader:
        batch_size = unlabelled_settings(self.cfg).BATCH_SIZE
        return DataLoader(
            UnlabelledImages(self.pool, self.crop, read_image, self.cfg.DATALOADER.MAX_UNREADABLE),
            batch_size=batch_size,
            shuffle=True,
            num_workers=self.cfg.DATALOADER.NUM_WORKERS,
            drop_last=len(self.pool) >= batch_size,
            pin_memory=self.device.type == "cuda",
        )

    def labelled_and_pool(self) -> tuple:
        return self.dm.dataset.train_x, self.pool

    # Model

    def add_kd_head(self, clip: LoadedCLIP) -> None:
        """Register the KD head on the features of the student ``clip``."""
        dho = self.cfg.TRAINER.DHO
        # before the teacher is known the temperature is the student's own; a checkpoint brings the right one
        with untouched_rng():
            head = clip_head(clip, self.classnames, prompt_templates(self.cfg), dho.HEAD, dho.HEAD_INIT, dho.ZETA)
        self.kd_head = head.to(self.device)
        self.add_model(KD_HEAD, self.kd_head, dho.HEAD_LR)
        self.teacher: Any = None
        self.has_kd_head = True
        self.mix = {"alpha": dho.ALPHA, "beta": dho.BETA, "chosen": "fixed by the configuration"}

    def class_bound_models(self) -> List[str]:
        return sorted({KD_HEAD, *super().class_bound_models()})

    def fit_checkpoint(self, name: str, checkpoint: Dict[str, Any], path: str) -> Optional[Dict[str, Any]]:
        """The KD head of other classes is left out where nothing of it is used, as the new half of base-to-new."""
        try:
            fitted = super().fit_checkpoint(name, checkpoint, path)
        except UnknownClasses as error:
            if name != KD_HEAD:
                raise
            if self.mix["alpha"] != 1 or self.depends_on_classes:
                raise UnknownClasses(f"{error}. TRAINER.DHO.ALPHA 1.0 evaluates the method's own head alone") from error
            print(f"alpha is 1: the KD head is not loaded, only the method's own head is evaluated ({error})")
            fitted = None
        if name == KD_HEAD:
            self.has_kd_head = fitted is not None
        return fitted

    def load_model(self, directory: str, epoch: Optional[int] = None) -> None:
        """Load a run; alpha and beta are the configuration's or, with TRAINER.DHO.SEARCH, what the run searched."""
        stored = Path(directory or ".") / MIX
        if directory and self.cfg.TRAINER.DHO.SEARCH and stored.exists():
            self.mix = read_json(stored)
            print(f"alpha {self.mix['alpha']} and beta {self.mix['beta']} of {stored} ({self.mix['chosen']})")
        super().load_model(directory, epoch)

    # Training

    def before_train(self) -> None:
        dho = self.cfg.TRAINER.DHO
        with untouched_rng():
            self.teacher = self._load_teacher().to(self.device)
        clip = self.teacher.clip
        if dho.HEAD == "cosine":
            self.kd_head.zeta.fill_(self.teacher.zeta)
        self.crop.show("img_teacher", View(clip.image_size, tuple(clip.mean), tuple(clip.std)))
        super().before_train()

    def _load_teacher(self) -> nn.Module:
        node = self.cfg.TRAINER.DHO.TEACHER
        print(f"Loading the teacher ({node.NAME}{f', prompts of {node.CHECKPOINT}' if node.CHECKPOINT else ''})")
        precision = node.PREC or weight_precision(self.precision(self.cfg))
        clip = load_configured_clip("TRAINER.DHO.TEACHER", node, precision, self.device)
        zeta = self.cfg.TRAINER.DHO.ZETA
        if node.CHECKPOINT:
            return PromptTeacher(load_prompts(clip, self.classnames, node.CHECKPOINT), zeta)
        return ZeroShotTeacher(clip, self.classnames, prompt_templates(self.cfg), zeta)

    def _both(self, batch: Dict[str, Any], key: str) -> Tensor:
        """The labelled images, then the unlabelled ones if there are any."""
        images = [batch[key], batch[f"{key}_u"]] if f"{key}_u" in batch else [batch[key]]
        return torch.cat([part.to(self.device, non_blocking=True) for part in images])

    # Inference

    def before_test(self) -> None:
        if self.cfg.TRAINER.DHO.SEARCH:
            if self.val_is_test:
                self.mix["chosen"] = "fixed: the validation set is the test set, so nothing is searched on it"
            else:
                self.mix = self._searched_mix()
        write_json(Path(self.cfg.OUTPUT_DIR) / MIX, self.mix)
        print(f"alpha {self.mix['alpha']}, beta {self.mix['beta']} ({self.mix['chosen']})")

    def prediction(self, logits: Dict[str, Tensor]) -> Prediction:
        scores, each = super().prediction(logits)
        if "kd" not in logits:
            return Prediction(scores, each)
        mixed = blend(logits["ce"], logits["kd"], self.mix["alpha"], self.mix["beta"])
        # with alpha 1 the logits decide, as for the method alone: a softmax may round two of them to a tie
        return Prediction(
            {"blend": logits["ce"] if self.mix["alpha"] == 1 else mixed, **scores}, {"blend": mixed, **each}
        )

    @torch.no_grad()
    def _searched_mix(self) -> Dict[str, Any]:
        self.set_model_mode("eval")
        ce_logits, kd_logits, labels = [], [], []
        for batch in tqdm(self.val_loader, desc="validation"):
            images, batch_labels = self.parse_batch_test(batch)
            with self.autocast():
                scores = self.predict(images)
            ce_logits.append(scores["ce"].float().cpu())
            kd_logits.append(scores["kd"].float().cpu())
            labels.append(batch_labels.cpu())
        found = search_mix(torch.cat(ce_logits), torch.cat(kd_logits), torch.cat(labels))
        chosen = f"searched on {len(torch.cat(labels))} validation images: {100 * found.accuracy:.2f}%"
        return {"alpha": found.alpha, "beta": found.beta, "chosen": chosen}

    def results(self) -> Dict[str, Any]:
        dho = self.cfg.TRAINER.DHO
        zeta = None if self.teacher is None else self.teacher.zeta  # an evaluation does without the teacher
        teacher = {"name": dho.TEACHER.NAME, "zeta": zeta}
        if dho.TEACHER.CHECKPOINT:
            teacher["checkpoint"] = dho.TEACHER.CHECKPOINT
        else:
            teacher["templates"] = prompt_templates(self.cfg)
        return {**super().results(), "mix": self.mix, "teacher": teacher}


class DHOPathway(DHORun):
    """Mix into a :class:`~dho_prompt.trainer.MethodTrainer`, before it (Alg. 1 and 2 of the paper)."""

    def pair_batches(self) -> None:
        """:meth:`build_data_loader` does it, which knows the unlabelled images."""

    def build_model(self) -> None:
        super().build_model()
        self.add_kd_head(self.model.clip)

    def losses(self, batch: Dict[str, Any]) -> Dict[str, Tensor]:
        labels = batch["label"].to(self.device)
        labelled = len(labels)
        output = self.model(self._both(batch, "img"), labelled)
        teacher_logits = self.teacher(self._both(batch, "img_teacher" if "img_teacher" in batch else "img"))
        kd_logits = self.kd_head(output.features)
        terms = self.dho_loss(
            output.logits,
            labels,
            kd_logits[:labelled],
            teacher_logits[:labelled],
            kd_logits[labelled:],
            teacher_logits[labelled:],
            extra=sum(output.extra.values()) if output.extra else None,
        )
        return {
            "loss": terms.total,
            "loss_ce": terms.ce,
            "loss_kd_x": terms.kd_x,
            "loss_kd_u": terms.kd_u,
            **output.extra,
            "acc": compute_accuracy(output.logits, labels)[0],
        }

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        features, ce_logits, _ = self.model(images)
        return {"ce": ce_logits, "kd": self.kd_head(features)} if self.has_kd_head else {"ce": ce_logits}
