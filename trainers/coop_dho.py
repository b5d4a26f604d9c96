"""CoOp + DHO: CoOp's own text-image logits, and a KD head on the image features (Table 13)."""

from dho_prompt.engine import TRAINER_REGISTRY
from dho_prompt.pathway import DHOPathway
from dho_prompt.trainers.coop import CoOp


@TRAINER_REGISTRY.register()
class CoOpDHO(DHOPathway, CoOp):
    """CoOp with the DHO pathway; TRAINER.COOP and TRAINER.DHO configure it."""
