"""Linear probing + DHO: a CE head and a KD head on frozen image features (Table 13, linear evaluation)."""

from dho_prompt.engine import register_trainer
from dho_prompt.pathway import DHOPathway
from dho_prompt.trainers.linear_probe import LinearProbe


@register_trainer
class LinearProbeDHO(DHOPathway, LinearProbe):
    """Linear probing with the DHO pathway; TRAINER.LINEAR_PROBE and TRAINER.DHO configure it."""
