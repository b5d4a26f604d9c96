"""The training images beyond the labelled ones: which there are, and how many steps an epoch over them has."""

from __future__ import annotations

from typing import Any, List

from torch.utils.data import DataLoader

from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.choose.labelled import everything
from dho_prompt.engine import build_dataset
from dho_prompt.engine.rng import untouched_rng


def labelled_batches(cfg: Any, loader: DataLoader) -> PairLoader:
    """Labelled batches alone, as many an epoch as in a run with unlabelled images.

    With TRAIN.COUNT_ITER train_u or smaller_one the number of unlabelled batches counts although none is drawn: the
    paper matches the steps of its labelled-only runs to those with unlabelled images (Sec. D.2).
    """
    if cfg.TRAIN.COUNT_ITER == "train_x":
        return PairLoader(loader, None)
    images, batch_size = len(every_training_image(cfg)), unlabelled_settings(cfg).BATCH_SIZE
    return PairLoader(loader, None, cfg.TRAIN.COUNT_ITER, max(images // batch_size, 1))


def every_training_image(cfg: Any) -> List[Any]:
    """Every training image of the data set's own class, labelled in this run or not."""
    with untouched_rng():  # a data set may draw while it is built; the host draws what it would without us
        dataset = build_dataset(everything(cfg))  # the few-shot data sets of CoOp's family drop the other images
    return dataset.train_u or dataset.train_x


def unlabelled_settings(cfg: Any) -> Any:
    """The DATALOADER node that holds for unlabelled images."""
    return cfg.DATALOADER.TRAIN_X if cfg.DATALOADER.TRAIN_U.SAME_AS_X else cfg.DATALOADER.TRAIN_U
