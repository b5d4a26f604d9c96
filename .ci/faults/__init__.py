"""Faults to plant, by part of the package."""

from . import maths
from .fault import Fault

__all__ = ["FAULTS", "Fault"]
FAULTS = (*maths.FAULTS,)
