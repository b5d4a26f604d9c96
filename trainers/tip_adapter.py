"""Tip-Adapter and Tip-Adapter-F (Zhang et al., ECCV 2022): few-shot teachers, and rows of their own."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from dho_prompt.clip.templates import templates_for
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.lasting import lasting
from dho_prompt.engine import register_trainer
from dho_prompt.files import atomic_write
from dho_prompt.methods.tip_adapter import Cache, TipAdapterMethod, as_published, starts
from dho_prompt.runs.evaluation import logits_of
from dho_prompt.teachers.tip_adapter import FILE, read_tip_adapter
from dho_prompt.training.ema import MovingAverage
from dho_prompt.training.loaders import SharedViews
from dho_prompt.training.method_trainer import MethodTrainer


@register_trainer
class TipAdapterF(MethodTrainer):
    """Trained keys; TRAINER.TIP_ADAPTER configures it.

    The run's ``tip_adapter.pt`` holds the cache with the alpha and beta that were searched on validation images.
    """

    node = "TIP_ADAPTER"
    fine_tunes = True

    def method(self, student, classnames):
        node, name = self.cfg.TRAINER.TIP_ADAPTER, self.cfg.DATASET.NAME
        texts = class_text_features(student.clip, classnames, list(node.TEMPLATES) or templates_for(name))
        images = self.dm.dataset.train_x if hasattr(self, "dm") else ()  # without data a checkpoint brings the cache
        labels = torch.tensor([item.label for item in images], dtype=torch.long)
        cache = Cache(texts.cpu(), labels, student.zeta, node.ALPHA or starts(name)[0], node.BETA)
        self.chosen = None  # alpha, beta and how they were chosen, once they are
        return TipAdapterMethod(student, cache, self.fine_tunes)

    def before_train(self):
        super().before_train()
        if self.start_epoch == 0:
            self.model.cache.fill(self.mean_features())
            if self.average is not None:  # it began with the empty cache
                self.average = MovingAverage(self.average.models, self.average.decay)

    def add_model(self, name, module, learning_rate=0.0):
        super().add_model(name, module, learning_rate)
        for group in self._optims[name].param_groups:
            if "eps" in group:
                group["eps"] = self.cfg.TRAINER.TIP_ADAPTER.EPS

    @torch.no_grad()
    def mean_features(self):
        """(images, d): of each labelled image the mean of its features, at length 1, over augmented passes."""
        passes = self.cfg.TRAINER.TIP_ADAPTER.PASSES
        # not as a training set, which puts another image, perhaps of another class, in an unreadable one's place
        images = SharedViews(self.cfg, self.dm.dataset.train_x, self.crop)
        node = self.cfg.DATALOADER
        loader = lasting(DataLoader(images, node.TEST.BATCH_SIZE, num_workers=node.NUM_WORKERS))
        total = torch.zeros_like(self.model.cache.keys)
        for _ in tqdm(range(passes), desc="cache"):
            with self.autocast():
                batches = (Batch(batch, self.crop, self.device) for batch in loader)
                parts = [self.model.encode_image(batch.images()).float() for batch in batches]
            total += torch.nn.functional.normalize(torch.cat(parts), dim=-1)
        return total / passes

    def choose_mix(self):
        """Alpha and beta of the cache, before the test set is seen; then the file that teaches."""
        node, cache, chosen = self.cfg.TRAINER.TIP_ADAPTER, self.model.cache, "fixed"
        if node.SEARCH and self.val_loader is not None and not self.val_is_test:
            self.set_model_mode("eval")
            found, labels = logits_of(tqdm(self.val_loader, desc="validation"), self.parse_batch_test, self.features)
            accuracy = cache.search(found["features"], labels, *starts(self.cfg.DATASET.NAME)[1:])
            chosen = f"searched on {len(labels)} validation images: {100 * accuracy:.2f}%"
        self.chosen = {"alpha": cache.alpha.item(), "beta": cache.beta.item(), "chosen": chosen}
        print(f"cache: alpha {self.chosen['alpha']:g}, beta {self.chosen['beta']:g} ({chosen})")
        clip = self.cfg.MODEL.BACKBONE.NAME
        content = {**as_published(cache, self.classnames), "clip": clip, "chosen": chosen}
        atomic_write(Path(self.cfg.OUTPUT_DIR) / FILE, lambda file: torch.save(content, file))
        super().choose_mix()

    @torch.no_grad()
    def features(self, images):
        with self.autocast():
            return {"features": self.model.encode_image(images)}

    def fit_checkpoint(self, name, checkpoint, path):
        """A data set of some of the classes takes all keys: they are of images, also where as many as classes."""
        fitted = super().fit_checkpoint(name, checkpoint, path)
        keys = {key: value for key, value in checkpoint["state_dict"].items() if key.endswith("keys")}
        return {**fitted, "state_dict": {**fitted["state_dict"], **keys}}

    def recall(self, directory):
        path = Path(directory) / FILE
        if path.is_file():
            content = read_tip_adapter(str(path))
            cache = self.model.cache
            cache.alpha.fill_(content["best_alpha"])
            cache.beta.fill_(content["best_beta"])
            self.chosen = {"alpha": cache.alpha.item(), "beta": cache.beta.item(), "chosen": content.get("chosen", "")}

    def after_train(self):
        if self.cfg.TEST.NO_TEST:  # else before the test
            self.choose_mix()
        super().after_train()

    def results(self):
        cache = self.model.cache
        fixed = {"alpha": cache.alpha.item(), "beta": cache.beta.item(), "chosen": "fixed"}
        return {**super().results(), "cache": self.chosen or fixed}


@register_trainer
class TipAdapter(TipAdapterF):
    """The cache as it is built, without training."""

    fine_tunes = False

    def run_epoch(self):
        """Nothing is trained: the run's epochs are over at once."""
        self.num_batches = 0

    def results(self):
        return {**super().results(), "epochs": 0}
