"""From lists of images to batches: the wrapper, the loaders, the manager that holds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from dho_prompt.engine.embedded.dataset import Datum, build_dataset
from dho_prompt.engine.embedded.transforms import build_transform
from dho_prompt.engine.utils import read_image, unknown_name

_SAMPLERS = {"RandomSampler": RandomSampler, "SequentialSampler": SequentialSampler}


class DatasetWrapper(Dataset):
    """Reads and transforms images.

    An item is a dict: ``img`` (the transformed image), ``label``, ``domain``, ``impath`` and ``index``.

    Args:
        cfg: the run's config.
        data_source: list of :class:`Datum`.
        transform: a callable on PIL images, or None to return the PIL image.
        is_train: whether it is for training; read by classes that extend this one.

    Raises:
        ValueError: DATALOADER.K_TRANSFORMS or RETURN_IMG0 asks for more than one tensor of an image.
    """

    def __init__(
        self, cfg: Any, data_source: Sequence[Datum], transform: Callable | None = None, is_train: bool = False
    ) -> None:
        node = cfg.DATALOADER
        if node.K_TRANSFORMS != 1 or node.RETURN_IMG0:
            raise ValueError(
                f"DATALOADER.K_TRANSFORMS is {node.K_TRANSFORMS} and DATALOADER.RETURN_IMG0 is {node.RETURN_IMG0}; the "
                "embedded engine reads one view of an image: set them to 1 and False, or install Dassl"
            )
        self.data_source, self.transform = data_source, transform

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        datum = self.data_source[idx]
        image = read_image(datum.impath)
        if self.transform is not None:
            image = self.transform(image)
        return {"label": datum.label, "domain": datum.domain, "impath": datum.impath, "index": idx, "img": image}


def build_data_loader(
    cfg: Any,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    tfm: Callable | None = None,
    is_train: bool = True,
    dataset_wrapper: Callable[..., Dataset] | None = None,
) -> DataLoader:
    """A loader over ``data_source``.

    Training drops the last incomplete batch, unless it is the only one.

    Args:
        cfg: the run's config.
        sampler_type: RandomSampler or SequentialSampler.
        data_source: list of :class:`Datum`.
        batch_size: images in a batch.
        tfm: see :class:`DatasetWrapper`.
        is_train: whether the loader is for training.
        dataset_wrapper: a class to use in place of :class:`DatasetWrapper`.

    Raises:
        ValueError: the sampler is unknown or there is no image.
    """
    if sampler_type not in _SAMPLERS:
        raise ValueError(f"{unknown_name('sampler', sampler_type, _SAMPLERS)} (Dassl itself has more)")
    if not data_source:
        raise ValueError("cannot load from an empty list of images; check DATASET.ROOT and the split")
    wrap = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    return DataLoader(
        wrap(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=_SAMPLERS[sampler_type](data_source),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )


class DataManager:
    """The data set that the config names and a loader for each part of it.

    Args:
        cfg: the run's config.
        custom_tfm_train: transform in place of the config's for training.
        dataset_wrapper: see :func:`build_data_loader`.

    Attributes:
        dataset: the :class:`DatasetBase`, whose ``num_classes`` and ``lab2cname`` it has too.
        train_loader_x, test_loader: loaders.
        val_loader: a loader, or None where the data set has no validation images.
    """

    def __init__(
        self,
        cfg: Any,
        custom_tfm_train: Callable | None = None,
        dataset_wrapper: Callable[..., Dataset] | None = None,
    ) -> None:
        self.dataset = build_dataset(cfg)
        if custom_tfm_train is None:
            tfm_train = build_transform(cfg)
        else:
            print("* Using custom transform for training")
            tfm_train = custom_tfm_train
        tfm_test = build_transform(cfg, is_train=False)

        def loader(images: Sequence[Datum], node: Any, is_train: bool) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=images,
                batch_size=node.BATCH_SIZE,
                tfm=tfm_train if is_train else tfm_test,
                is_train=is_train,
                dataset_wrapper=dataset_wrapper,
            )

        dataset, test = self.dataset, cfg.DATALOADER.TEST
        self.train_loader_x = loader(dataset.train_x, cfg.DATALOADER.TRAIN_X, True)
        self.val_loader = loader(dataset.val, test, False) if dataset.val else None
        self.test_loader = loader(dataset.test, test, False)
        self.num_classes, self.lab2cname = dataset.num_classes, dataset.lab2cname
        self.num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    def show_dataset_summary(self, cfg: Any) -> None:
        """Print a table: name, domains, number of classes and of images in each part."""
        from tabulate import tabulate

        rows = [["Dataset", cfg.DATASET.NAME]]
        rows += [["Source", cfg.DATASET.SOURCE_DOMAINS]] if cfg.DATASET.SOURCE_DOMAINS else []
        rows += [["Target", cfg.DATASET.TARGET_DOMAINS]] if cfg.DATASET.TARGET_DOMAINS else []
        rows.append(["# classes", f"{self.num_classes:,}"])
        for part in ("train_x", "train_u", "val", "test"):
            images = getattr(self.dataset, part)
            if images:
                rows.append([f"# {part}", f"{len(images):,}"])
        print(tabulate(rows))
