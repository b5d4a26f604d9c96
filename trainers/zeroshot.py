"""Zero-shot CLIP (Radford et al., 2021), the baseline rows of the tables."""

from dho_prompt.clip.templates import single_template, templates_for
from dho_prompt.methods.zeroshot import ZeroShotMethod
from dho_prompt.training.method_trainer import MethodTrainer


class ZeroshotCLIP(MethodTrainer):
    """Evaluates and trains nothing; TRAINER.ZEROSHOT configures it. Not registered here: a host has this name."""

    node = "ZEROSHOT"
    trains = False

    def method(self, student, classnames):
        node, name = self.cfg.TRAINER.ZEROSHOT, self.cfg.DATASET.NAME
        templates = templates_for(name) if node.ENSEMBLE else [single_template(name)]
        return ZeroShotMethod(student, classnames, list(node.TEMPLATES) or templates)

    def train(self):
        self.max_epoch = 0
        super().train()

    def results(self):
        names = list(self.evaluation.classes.names)  # which those that train keep in their checkpoints
        return {**super().results(), "epochs": 0, "classnames": names}
