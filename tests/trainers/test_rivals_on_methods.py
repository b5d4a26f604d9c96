"""Every objective on every method: a step, what it logs, and what it trains."""

import pytest

from dho_prompt.distill.dho import OBJECTIVES
from trainer_contract import build, first_batches, take_step

TERMS = {
    "dho": {"loss_ce", "loss_kd_x", "loss_kd_u"},
    "ce": set(),
    "kd": {"loss_kd_u"},
    "ce_kd": {"loss_ce", "loss_kd_x", "loss_kd_u"},
    "kd_feature": {"loss_kd"},
    "ce_kd_feature": {"loss_ce", "loss_kd"},
    "sskd": {"loss_ce", "loss_kd_u"},
    "dhkd": {"loss_ce", "loss_kd_x", "loss_kd_u"},
}
METHODS = {
    "CoOpDHO": (),
    "PromptSRCDHO": (
        *("TRAINER.PROMPTSRC.PREC", "fp32", "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 2),
        *("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 2),
    ),
    "VPTDHO": ("TRAINER.VPT.PREC", "fp32"),
    "LinearProbeDHO": (),
    "FinetuneDHO": (),
}


def test_no_objective_is_left_out():
    assert set(TERMS) == set(OBJECTIVES)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", METHODS)
def test_a_step(train_args, name, objective):
    trainer = build(train_args(name, *METHODS[name], "TRAINER.DHO.OBJECTIVE", objective))
    (batch,) = first_batches(trainer, 1)
    logged, gradients = take_step(trainer, batch, 0, 5)
    own = {key for key in logged if key.startswith("loss_scl")} if objective not in ("kd", "kd_feature") else set()
    assert bool(own) == (name == "PromptSRCDHO" and objective not in ("kd", "kd_feature"))
    assert set(logged) - own == {"loss", "acc", *TERMS[objective]}
    trained = {key.partition("/")[0] for key, gradient in gradients.items() if gradient.abs().sum() > 0}
    without_own_head = {"ce_head"} if objective == "kd_feature" else set()
    wanted = set(trainer.get_model_names()) - without_own_head
    if objective == "kd_feature":  # reaches what the features depend on
        wanted -= {"prompt_learner"} if name == "CoOpDHO" else set()
    assert trained == wanted
