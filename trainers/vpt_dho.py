"""VPT + DHO: a CE head and a KD head on the features of an image tower with learned prompts (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.pathway import DHOPathway
from dho_prompt.trainers.vpt import VPT


@register_trainer
class VPTDHO(DHOPathway, VPT):
    """VPT with the DHO pathway; TRAINER.VPT and TRAINER.DHO configure it."""
