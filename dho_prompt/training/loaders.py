"""From the configuration to batches: one crop for all models, labelled and unlabelled loaders side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from dho_prompt.data.batches.pair import PairLoader, UnlabelledImages
from dho_prompt.data.batches.unreadable import Replacements
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.data.choose.labelled import all_labelled
from dho_prompt.data.choose.pool import unlabelled_pool
from dho_prompt.engine import DatasetWrapper, build_data_loader, build_dataset, build_transform, read_image
from dho_prompt.engine.rng import untouched_rng

WITHOUT_LABELS = ("kd", "kd_feature")  # objectives that have no lambda


class SharedViews(DatasetWrapper):
    """Dassl's dataset wrapper for a transform that returns several views of an image.

    For training a few unreadable images are replaced (DATALOADER.MAX_UNREADABLE); for testing one is an error. On
    either engine images are read by :func:`~dho_prompt.data.batches.read_image.read_image`: Dassl's own reader whitens
    deep greys, and does not say which file it could not read.
    """

    def __init__(self, cfg: Any, data_source: Any, transform: Any = None, is_train: bool = False) -> None:
        super().__init__(cfg, data_source, transform, is_train)
        self.replacements = Replacements(len(data_source), cfg.DATALOADER.MAX_UNREADABLE) if is_train else None

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.replacements is None:
            return self._read(index)
        return self.replacements.read(index, self._read, lambda index: self.data_source[index].impath)

    def _read(self, index: int) -> dict[str, Any]:
        item = self.data_source[index]
        views = self.transform(read_image(item.impath))
        sample = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": index}
        return {**sample, **(views if isinstance(views, dict) else {"img": views})}


def shared_crop(cfg: Any) -> SharedCrop:
    """The training transform of the INPUT node, to which teachers add their views."""
    node = cfg.INPUT
    return crop_in(cfg, View(node.SIZE[0], tuple(node.PIXEL_MEAN), tuple(node.PIXEL_STD)))


def crop_in(cfg: Any, view: View) -> SharedCrop:
    """The same crops in the view of one model."""
    node = cfg.INPUT
    return SharedCrop(view, node.TRANSFORMS, node.RRCROP_SCALE, node.INTERPOLATION, node.FAST_RESIZE)


def every_training_image(cfg: Any, dataset: Any) -> Sequence[Any]:
    """Every training image of a data set, labelled in this run or not.

    Our own data sets keep the list. The few-shot data sets of CoOp's family drop it, so such a one is built again
    with all images labelled.
    """
    kept = getattr(dataset, "training_images", None)
    if kept is not None:
        return kept
    with untouched_rng():  # a data set may draw while it is built; the host draws what it would without us
        whole = build_dataset(all_labelled(cfg))
    return whole.train_u or whole.train_x


def unlabelled_images(cfg: Any, dataset: Any) -> Sequence[Any]:
    """The pool that TRAINER.DHO.UNLABELED asks for; none with lambda 1, which leaves the teacher unheard."""
    dho = cfg.TRAINER.DHO
    unheard = dho.LAMBDA == 1 and dho.OBJECTIVE not in WITHOUT_LABELS
    if dho.UNLABELED == "none" or unheard:
        return ()
    return unlabelled_pool(every_training_image(cfg, dataset), dataset.train_x, dho.UNLABELED)


def unlabelled_settings(cfg: Any) -> Any:
    """The DATALOADER node that holds for unlabelled images."""
    return cfg.DATALOADER.TRAIN_X if cfg.DATALOADER.TRAIN_U.SAME_AS_X else cfg.DATALOADER.TRAIN_U


def pair_batches(
    cfg: Any, loader: DataLoader, pool: Sequence[Any], crop: SharedCrop, device: torch.device
) -> PairLoader:
    """Labelled batches, each with a batch of the pool beside it (Alg. 1 line 7)."""
    batch_size = unlabelled_settings(cfg).BATCH_SIZE
    unlabelled = DataLoader(
        UnlabelledImages(pool, crop, read_image, cfg.DATALOADER.MAX_UNREADABLE),
        batch_size=batch_size,
        shuffle=True,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=len(pool) >= batch_size,
        pin_memory=device.type == "cuda",
    )
    return PairLoader(loader, unlabelled, cfg.TRAIN.COUNT_ITER)


def labelled_batches(cfg: Any, loader: DataLoader, dataset: Any) -> PairLoader:
    """Labelled batches alone, as many an epoch as in a run with unlabelled images.

    With TRAIN.COUNT_ITER train_u or smaller_one the number of unlabelled batches counts although none is drawn: the
    paper matches the steps of its labelled-only runs to those with unlabelled images (Sec. D.2).
    """
    if cfg.TRAIN.COUNT_ITER == "train_x":
        return PairLoader(loader, None)
    images, batch_size = len(every_training_image(cfg, dataset)), unlabelled_settings(cfg).BATCH_SIZE
    return PairLoader(loader, None, cfg.TRAIN.COUNT_ITER, max(images // batch_size, 1))


def test_loader(cfg: Any, items: Sequence[Any]) -> DataLoader:
    """Images of a further test set, seen as those of the data set's own."""
    node, transform = cfg.DATALOADER.TEST, build_transform(cfg, is_train=False)
    return build_data_loader(
        cfg,
        node.SAMPLER,
        data_source=items,
        batch_size=node.BATCH_SIZE,
        tfm=transform,
        is_train=False,
        dataset_wrapper=SharedViews,
    )
