"""One contract for both engines: which one runs these tests is in pytest's header.

``DHO_PROMPT_ENGINE=dassl pytest tests/engine`` runs them on the real Dassl.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dho_prompt import engine
from dho_prompt.runs.finite import refuse_loss
from dho_prompt.runs.resume import Resumable


def pytest_report_header():
    return engine.describe_engine()


class _TinyImages(engine.DatasetBase):
    """Three classes of 8 x 8 images below DATASET.ROOT; 16 of each for training, a few for val and test."""

    def __init__(self, cfg):
        def images(part):
            paths = sorted((Path(cfg.DATASET.ROOT) / part).glob("*.png"))
            return [engine.Datum(str(path), label=int(path.name[0]), classname=f"c{path.name[0]}") for path in paths]

        train, val, test = images("train"), images("val"), images("test")
        unlabelled = train if cfg.DATASET.ALL_AS_UNLABELED else None
        if cfg.DATASET.NUM_SHOTS > 0:
            by_label = [[item for item in train if item.label == label] for label in range(3)]
            train = [item for items in by_label for item in items[: cfg.DATASET.NUM_SHOTS]]
        super().__init__(train_x=train, train_u=unlabelled, val=val, test=test)


TinyImages = engine.register_if_absent(engine.DATASET_REGISTRY, _TinyImages, "TinyImages")


@pytest.fixture(scope="session")
def image_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 3), ("test", 5)):
        (root / part).mkdir()
        for label in range(3):
            for index in range(count):
                pixels = draw.integers(0, 120, (8, 8, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / f"{label}_{index:02d}.png")
    return root


@pytest.fixture
def make_cfg(image_root, tmp_path):
    """Build a small config; keyword arguments are keys with two underscores for each dot."""

    def make(**changes):
        cfg = engine.get_cfg_default()
        values = {
            "OUTPUT_DIR": str(tmp_path / "run"),
            "USE_CUDA": False,
            "VERBOSE": False,
            "DATASET.ROOT": str(image_root),
            "DATASET.NAME": "TinyImages",
            "DATASET.NUM_SHOTS": 8,
            "DATALOADER.NUM_WORKERS": 0,
            "DATALOADER.TRAIN_X.BATCH_SIZE": 10,
            "DATALOADER.TEST.BATCH_SIZE": 4,
            "INPUT.SIZE": (8, 8),
            "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
            "OPTIM.NAME": "sgd",
            "OPTIM.LR": 0.05,
            "OPTIM.MAX_EPOCH": 4,
            "OPTIM.LR_SCHEDULER": "cosine",
            "OPTIM.WARMUP_EPOCH": 1,
            "OPTIM.WARMUP_TYPE": "constant",
            "OPTIM.WARMUP_CONS_LR": 0.001,
            "TRAIN.PRINT_FREQ": 1,
        }
        values.update({key.replace("__", "."): value for key, value in changes.items()})
        cfg.merge_from_list([entry for pair in values.items() for entry in pair])
        return cfg

    return make


class Killed(Exception):
    """Stands for a process that dies."""


class _TinyStep:
    """Two registered models, SGD with momentum and Adam, dropout and noise from Python, NumPy and torch."""

    kill_in_epoch = None  # die in the middle of this epoch (from 0)
    names = ("body", "head")

    def build_model(self):
        body, head = self.names
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Dropout(0.3)).to(self.device)
        self.head = nn.Linear(8, self.num_classes).to(self.device)
        adam = self.cfg.OPTIM.clone()
        adam.NAME = "adam"
        for name, module, node in ((body, self.body, self.cfg.OPTIM), (head, self.head, adam)):
            optim = engine.build_optimizer(module, node)
            self.register_model(name, module, optim, engine.build_lr_scheduler(optim, node))
        self.steps = 0
        self.rates = []
        self.seen = []

    def model_inference(self, input):
        return self.head(self.body(input))

    def extra_state(self):
        return {"steps": self.steps}

    def load_extra_state(self, state):
        self.steps = state["steps"]

    def step(self, images, labels):
        if self.kill_in_epoch == self.epoch and self.batch_idx == 1:
            raise Killed
        noise = random.gauss(0, 0.1) + np.random.normal(0, 0.1)
        loss = nn.functional.cross_entropy(self.model_inference(images + noise), labels)
        self.model_backward_and_update(loss)
        self.steps += 1
        self.rates.append((self.epoch, self.batch_idx, self.get_current_lr()))
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def weights(self):
        return {
            f"{name}.{key}": value.clone()
            for name in self.names
            for key, value in self._models[name].state_dict().items()
        }


class TinyX(_TinyStep, Resumable, engine.TrainerX):
    def detect_anomaly(self, loss):
        refuse_loss(loss, self)

    def forward_backward(self, batch):
        self.seen.append(batch["index"].tolist())
        return self.step(batch["img"].to(self.device), batch["label"].to(self.device))


@pytest.fixture
def tiny():
    """The tiny trainer ``tiny.X(cfg)``, and the exception that stands for a killed process."""

    class Tiny:
        X, Killed = TinyX, Killed

        @staticmethod
        def start(kind, cfg, kill_in_epoch=None, seed=0):
            engine.set_random_seed(seed)
            trainer = kind(cfg)
            trainer.kill_in_epoch = kill_in_epoch
            return trainer

    return Tiny


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
