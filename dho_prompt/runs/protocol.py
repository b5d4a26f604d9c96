"""Nothing is chosen on test images: models and mixes are chosen on validation images or not at all."""

from __future__ import annotations

from typing import Any


def searches(search: str, has_val: bool, val_is_test: bool, taught: bool = True) -> bool:
    """Whether alpha and beta are to be chosen on the validation set (``search``: TRAINER.DHO.SEARCH).

    ``taught``: whether the KD head is trained at all, which with lambda 1 it is not; ``auto`` then searches nothing.
    With ``on`` also where that is the test set; nothing is then chosen on it, and the record says so.
    """
    return search == "on" or (search == "auto" and taught and has_val and not val_is_test)


def why_fixed(search: str, has_val: bool, val_is_test: bool, taught: bool = True) -> str:
    """Why alpha and beta are not searched although SEARCH is not ``off``; "" if they are, or it is."""
    if search == "off":
        return ""
    if val_is_test:
        return "the validation set is the test set, so nothing is searched on it"
    if search == "auto" and not taught:
        return "the KD head is not trained"
    return "" if has_val else "there is no validation set to search on"


def refuse_choice_on_test(cfg: Any, has_val: bool, val_is_test: bool, distils: bool) -> None:
    """Refuse a configuration that chooses a checkpoint or a mix without validation images.

    Args:
        cfg: of the run.
        has_val: whether the data set has a validation set.
        val_is_test: whether that has test images, as ImageNet's in CoOp's layout. A search is then left out, and the
            record says so.
        distils: whether there is a mix.

    Raises:
        ValueError: names the key and what to set.
    """
    if cfg.TEST.FINAL_MODEL == "best_val" and (val_is_test or not has_val):
        reason = "offers its test images as validation set" if val_is_test else "has no validation set"
        raise ValueError(
            f"TEST.FINAL_MODEL is best_val, but {cfg.DATASET.NAME} {reason}, so the checkpoint would be "
            "chosen on the test set; use last_step"
        )
    if distils and cfg.TRAINER.DHO.SEARCH == "on" and not has_val:
        dho = cfg.TRAINER.DHO
        raise ValueError(
            f"TRAINER.DHO.SEARCH needs a validation set, and {cfg.DATASET.NAME} has none; set it to auto or off "
            f"to use TRAINER.DHO.ALPHA {dho.ALPHA} and TRAINER.DHO.BETA {dho.BETA}"
        )
