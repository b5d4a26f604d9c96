"""CoOp (Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022), and CoOp + DHO (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.methods.boosting import read_context
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.teachers.prompts import checkpoint_file
from dho_prompt.training.method_trainer import MethodTrainer


class CoOp(MethodTrainer):
    """Plain CoOp; TRAINER.COOP configures it. Not registered here: a host has a trainer of this name."""

    node = "COOP"

    def method(self, student, classnames):
        coop = self.cfg.TRAINER.COOP
        boost = read_context(checkpoint_file(coop.BOOST)) if coop.BOOST else None
        return CoOpMethod(student, classnames, coop.N_CTX, coop.CTX_INIT, coop.CSC, coop.CLASS_TOKEN_POSITION, boost)


@register_trainer
class CoOpDHO(CoOp):
    """CoOp's own text-image logits, and a KD head on the image features; TRAINER.DHO configures it."""

    distils = True
