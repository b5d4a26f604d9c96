"""Nothing is chosen on test images: models and mixes are chosen on validation images or not at all."""

from __future__ import annotations

from typing import Any


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
