"""PromptSRC (Khattak et al., Self-regulating Prompts, ICCV 2023), and PromptSRC + DHO (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.methods.boosting import read_prompts
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.teachers.prompts import checkpoint_file
from dho_prompt.training.method_trainer import MethodTrainer


class PromptSRC(MethodTrainer):
    """Plain PromptSRC; TRAINER.PROMPTSRC configures it. Not registered here: a host has a trainer of this name."""

    node = "PROMPTSRC"

    def method(self, student, classnames):
        src = self.cfg.TRAINER.PROMPTSRC
        method = PromptSRCMethod(
            student,
            classnames,
            n_ctx_text=src.N_CTX_TEXT,
            depth_text=src.PROMPT_DEPTH_TEXT,
            n_ctx_vision=src.N_CTX_VISION,
            depth_vision=src.PROMPT_DEPTH_VISION,
            ctx_init=src.CTX_INIT,
            text_weight=src.TEXT_LOSS_WEIGHT,
            image_weight=src.IMAGE_LOSS_WEIGHT,
            templates=src.TEMPLATES,
            boost=read_prompts(checkpoint_file(src.BOOST)) if src.BOOST else None,
        )
        method.average_over(self.cfg.OPTIM.MAX_EPOCH, src.GPA_MEAN, src.GPA_STD)
        return method


@register_trainer
class PromptSRCDHO(PromptSRC):
    """PromptSRC's prediction and losses, and a KD head on the prompted image features; TRAINER.DHO configures it."""

    distils = True
