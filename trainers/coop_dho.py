"""CoOp + DHO: CoOp's own text-image logits, and a KD head on the image features (Table 13)."""

from dho_prompt.engine import register_trainer
from dho_prompt.pathway import DHOPathway
from dho_prompt.trainers.coop import CoOp


@register_trainer
class CoOpDHO(DHOPathway, CoOp):
    """CoOp with the DHO pathway; TRAINER.COOP and TRAINER.DHO configure it."""
