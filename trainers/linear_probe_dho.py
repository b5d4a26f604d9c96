"""Linear probing of frozen image features, and linear probing + DHO (Table 13, linear evaluation)."""

from dho_prompt.engine import register_trainer
from dho_prompt.heads import student_head
from dho_prompt.methods.linear_probe import LinearProbeMethod
from dho_prompt.training.build import prompt_templates
from dho_prompt.training.method_trainer import MethodTrainer


class LinearProbe(MethodTrainer):
    """Plain linear probing; TRAINER.LINEAR_PROBE configures it."""

    node = "LINEAR_PROBE"
    reads = ("TRAINER.DHO.TEACHER.TEMPLATES",)

    def method(self, student, classnames):
        probe = self.cfg.TRAINER.LINEAR_PROBE
        head = student_head(student, classnames, prompt_templates(self.cfg), probe.HEAD, probe.HEAD_INIT)
        return LinearProbeMethod(student, head)


@register_trainer
class LinearProbeDHO(LinearProbe):
    """A CE head and a KD head on frozen image features; TRAINER.DHO configures it."""

    distils = True
