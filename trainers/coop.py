"""CoOp (Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022)."""

from dho_prompt.config import check_choice
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.trainer import MethodTrainer


class CoOp(MethodTrainer):
    """Plain CoOp. Not registered here: a host has a trainer of this name."""

    node = "COOP"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_choice(
            "TRAINER.COOP.CLASS_TOKEN_POSITION", cfg.TRAINER.COOP.CLASS_TOKEN_POSITION, ("end", "middle", "front")
        )

    @property
    def depends_on_classes(self):
        return self.cfg.TRAINER.COOP.CSC

    def build_method(self, clip, classnames):
        coop = self.cfg.TRAINER.COOP
        return CoOpMethod(clip, classnames, coop.N_CTX, coop.CTX_INIT, coop.CSC, coop.CLASS_TOKEN_POSITION)
