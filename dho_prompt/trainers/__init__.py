"""Dassl-style trainers.

The files live in the top-level folder ``trainers`` of the checkout, and in this package of an installed wheel. From a
checkout this package finds them there, so a trainer has one name, ``dho_prompt.trainers.<file>``, everywhere.
"""

from pathlib import Path as _Path

_checkout = _Path(__file__).resolve().parents[2] / "trainers"
if not (_Path(__file__).parent / "coop_dho.py").exists() and (_checkout / "coop_dho.py").exists():
    __path__.append(str(_checkout))
