"""VPT (Jia et al., Visual Prompt Tuning, ECCV 2022) on a frozen CLIP image tower, and VPT + DHO (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.heads import student_head
from dho_prompt.methods.vpt import VPTMethod
from dho_prompt.training.build import prompt_templates
from dho_prompt.training.method_trainer import MethodTrainer


class VPT(MethodTrainer):
    """Plain VPT; TRAINER.VPT configures it. Not registered here: MaPLe has a trainer of this name."""

    node = "VPT"
    reads = ("TRAINER.DHO.TEACHER.TEMPLATES",)

    def method(self, student, classnames):
        vpt = self.cfg.TRAINER.VPT
        if vpt.HEAD == "text":  # CLIP's zero-shot classifier: a cosine head that stays on the text features
            head = student_head(student, classnames, [f"{vpt.CTX_INIT} {{}}."], "cosine").requires_grad_(False)
        else:
            head = student_head(student, classnames, prompt_templates(self.cfg), vpt.HEAD, vpt.HEAD_INIT)
        return VPTMethod(student, head, vpt.N_CTX_VISION, vpt.PROMPT_DEPTH_VISION)


@register_trainer
class VPTDHO(VPT):
    """A CE head and a KD head on the features of an image tower with learned prompts; TRAINER.DHO configures it."""

    distils = True
