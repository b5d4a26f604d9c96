"""Linear probing of a frozen CLIP image tower."""

from dho_prompt.config import HEAD_STARTS, HEADS, check_choice
from dho_prompt.heads import clip_head
from dho_prompt.methods.linear_probe import LinearProbeMethod
from dho_prompt.trainer import MethodTrainer, prompt_templates


class LinearProbe(MethodTrainer):
    """Plain linear probing; TRAINER.LINEAR_PROBE configures it."""

    node = "LINEAR_PROBE"
    depends_on_classes = True

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_choice("TRAINER.LINEAR_PROBE.HEAD", cfg.TRAINER.LINEAR_PROBE.HEAD, HEADS)
        check_choice("TRAINER.LINEAR_PROBE.HEAD_INIT", cfg.TRAINER.LINEAR_PROBE.HEAD_INIT, HEAD_STARTS)

    def build_method(self, clip, classnames):
        probe = self.cfg.TRAINER.LINEAR_PROBE
        head = clip_head(clip, classnames, prompt_templates(self.cfg), probe.HEAD, probe.HEAD_INIT)
        return LinearProbeMethod(clip, head)
