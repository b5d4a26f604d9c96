"""PromptSRC + DHO: PromptSRC's prediction and losses, and a KD head on the prompted image features (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.pathway import DHOPathway
from dho_prompt.trainers.promptsrc import PromptSRC


@register_trainer
class PromptSRCDHO(DHOPathway, PromptSRC):
    """PromptSRC with the DHO pathway; TRAINER.PROMPTSRC and TRAINER.DHO configure it."""
