"""PromptSRC (Khattak et al., Self-regulating Prompts: Foundational Model Adaptation without Forgetting, ICCV 2023)."""

from dho_prompt.methods.averaging import GaussianAverage
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.trainer import MethodTrainer


class PromptSRC(MethodTrainer):
    """Plain PromptSRC; TRAINER.PROMPTSRC configures it. Not registered here: a host has a trainer of this name."""

    node = "PROMPTSRC"

    def build_method(self, clip, classnames):
        src = self.cfg.TRAINER.PROMPTSRC
        return PromptSRCMethod(
            clip,
            classnames,
            n_ctx_text=src.N_CTX_TEXT,
            depth_text=src.PROMPT_DEPTH_TEXT,
            n_ctx_vision=src.N_CTX_VISION,
            depth_vision=src.PROMPT_DEPTH_VISION,
            ctx_init=src.CTX_INIT,
            text_weight=src.TEXT_LOSS_WEIGHT,
            image_weight=src.IMAGE_LOSS_WEIGHT,
            templates=src.TEMPLATES,
        )

    def build_model(self):
        super().build_model()
        src = self.cfg.TRAINER.PROMPTSRC
        self.average = GaussianAverage(self.model.prompts, self.cfg.OPTIM.MAX_EPOCH, src.GPA_MEAN, src.GPA_STD)

    def before_train(self):
        super().before_train()
        if self.average.epochs_done != self.start_epoch < self.max_epoch:
            raise ValueError(
                f"the checkpoint after {self.start_epoch} epochs does not hold the average of its prompts, as one of "
                "the published code does not; train from the start"
            )

    def after_epoch(self):
        self.average.add()
        if self.epoch + 1 == self.max_epoch:
            print("The prompts' average over the epochs takes their place")
            self.average.apply()
        super().after_epoch()

    def extra_state(self):
        return {**super().extra_state(), "prompt_average": self.average.state_dict()}

    def load_extra_state(self, state):
        super().load_extra_state(state)
        if "prompt_average" in state:
            self.average.load_state_dict(state["prompt_average"])
