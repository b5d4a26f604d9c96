"""Frozen models whose predictions are distilled."""
