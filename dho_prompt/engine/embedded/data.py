"""From lists of images to batches: the wrapper, the loaders, the manager that holds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from .dataset import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
from .registry import unknown_name
from .transforms import build_transform, plain_transform
from .utils import read_image

__all__ = [
    "DATASET_REGISTRY",
    "DataManager",
    "DatasetBase",
    "DatasetWrapper",
    "Datum",
    "build_data_loader",
    "build_dataset",
    "build_transform",
]

_SAMPLERS = {"RandomSampler": RandomSampler, "SequentialSampler": SequentialSampler}


class DatasetWrapper(Dataset):
    """Reads and transforms images.

    An item is a dict: ``img`` (the transformed image; ``img2``, ``img3``, ... for further transforms), ``label``,
    ``domain``, ``impath``, ``index`` and, when ``DATALOADER.RETURN_IMG0`` is set, ``img0`` without augmentation.

    Args:
        cfg: the run's config.
        data_source: list of :class:`Datum`.
        transform: a callable on PIL images, a list of them, or None to return the PIL image.
        is_train: only then ``DATALOADER.K_TRANSFORMS`` above 1 makes each ``img`` a list of so many augmented copies.

    Raises:
        ValueError: K_TRANSFORMS is above 1 and there is no transform.
    """

    def __init__(
        self, cfg: Any, data_source: Sequence[Datum], transform: Any | None = None, is_train: bool = False
    ) -> None:
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm} but there is no transform to apply")
        self.to_tensor = plain_transform(cfg)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        datum = self.data_source[idx]
        item = {"label": datum.label, "domain": datum.domain, "impath": datum.impath, "index": idx}
        image = read_image(datum.impath)
        if self.transform is None:
            item["img"] = image
        else:
            transforms = self.transform if isinstance(self.transform, (list, tuple)) else [self.transform]
            for number, transform in enumerate(transforms, start=1):
                copies = [transform(image) for _ in range(self.k_tfm)]
                item["img" if number == 1 else f"img{number}"] = copies if self.k_tfm > 1 else copies[0]
        if self.return_img0:
            item["img0"] = self.to_tensor(image)
        return item


def build_data_loader(
    cfg: Any,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Any | None = None,
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
        n_domain: unused; for samplers that only Dassl has.
        n_ins: unused likewise.
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
        custom_tfm_test: likewise for validation and test.
        dataset_wrapper: see :func:`build_data_loader`.

    Attributes:
        dataset: the :class:`DatasetBase`.
        train_loader_x, test_loader: loaders.
        train_loader_u, val_loader: loaders, or None where the data set has no such images.
    """

    def __init__(
        self,
        cfg: Any,
        custom_tfm_train: Any | None = None,
        custom_tfm_test: Any | None = None,
        dataset_wrapper: Callable[..., Dataset] | None = None,
    ) -> None:
        self.dataset = build_dataset(cfg)
        tfm_train = self._choose_transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = self._choose_transform(cfg, custom_tfm_test, is_train=False)
        node_x, node_u, node_test = cfg.DATALOADER.TRAIN_X, cfg.DATALOADER.TRAIN_U, cfg.DATALOADER.TEST

        def loader(images: Sequence[Datum], node: Any, is_train: bool) -> DataLoader | None:
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=images,
                batch_size=node.BATCH_SIZE,
                tfm=tfm_train if is_train else tfm_test,
                is_train=is_train,
                dataset_wrapper=dataset_wrapper,
            )

        dataset = self.dataset
        self.train_loader_x = loader(dataset.train_x, node_x, True)
        node_u = node_x if node_u.SAME_AS_X else node_u
        self.train_loader_u = loader(dataset.train_u, node_u, True) if dataset.train_u else None
        self.val_loader = loader(dataset.val, node_test, False) if dataset.val else None
        self.test_loader = loader(dataset.test, node_test, False)
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @staticmethod
    def _choose_transform(cfg: Any, custom: Any | None, is_train: bool) -> Any:
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes

    @property
    def num_source_domains(self) -> int:
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        return self.dataset.lab2cname

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
