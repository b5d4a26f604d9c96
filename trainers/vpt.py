"""VPT (Jia et al., Visual Prompt Tuning, ECCV 2022) on a frozen CLIP image tower."""

from dho_prompt.config import HEAD_STARTS, HEADS, check_choice
from dho_prompt.heads import clip_head
from dho_prompt.methods.vpt import VPTMethod
from dho_prompt.trainer import MethodTrainer, prompt_templates


class VPT(MethodTrainer):
    """Plain VPT; TRAINER.VPT configures it. Not registered here: MaPLe has a trainer of this name."""

    node = "VPT"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_choice("TRAINER.VPT.HEAD", cfg.TRAINER.VPT.HEAD, (*HEADS, "text"))
        check_choice("TRAINER.VPT.HEAD_INIT", cfg.TRAINER.VPT.HEAD_INIT, HEAD_STARTS)

    @property
    def depends_on_classes(self):
        return self.cfg.TRAINER.VPT.HEAD != "text"

    def build_method(self, clip, classnames):
        vpt = self.cfg.TRAINER.VPT
        if vpt.HEAD == "text":  # CLIP's zero-shot classifier: a cosine head that stays on the text features
            head = clip_head(clip, classnames, [f"{vpt.CTX_INIT} {{}}."], "cosine").requires_grad_(False)
        else:
            head = clip_head(clip, classnames, prompt_templates(self.cfg), vpt.HEAD, vpt.HEAD_INIT)
        return VPTMethod(clip, head, vpt.N_CTX_VISION, vpt.PROMPT_DEPTH_VISION)
