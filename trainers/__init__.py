"""Dassl-style trainer classes, one file per method; import them as ``dho_prompt.trainers.<file>``."""
