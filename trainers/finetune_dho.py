"""Finetuning of compact students, with labels alone and with DHO or a rival objective (Tables 1, 4 and 12)."""

from dho_prompt.engine import register_trainer
from dho_prompt.methods.finetune import FinetuneMethod
from dho_prompt.training.build_finetuned import build_finetuned_student, ce_head, check_finetuned_student
from dho_prompt.training.method_trainer import MethodTrainer


class Finetune(MethodTrainer):
    """Plain finetuning (CE); TRAINER.FINETUNE configures it."""

    node = "FINETUNE"
    reads = ("TRAINER.DHO.TEACHER.TEMPLATES", "TRAINER.DHO.HEAD_HIDDEN", "TRAINER.DHO.HEAD_DROPOUT")

    def check_student(self, cfg):
        check_finetuned_student(cfg)

    def build_student(self, cfg, precision):
        return build_finetuned_student(cfg, self.device)

    def method(self, student, classnames):
        node = self.cfg.TRAINER.FINETUNE
        head = ce_head(self.cfg, student, classnames)
        return FinetuneMethod(student, head, node.PASSES, node.MODULES)


@register_trainer
class FinetuneDHO(Finetune):
    """A CE head and a KD head on a student that is trained in full; TRAINER.DHO configures it."""

    distils = True
