"""Stored outputs of frozen towers: written once for views of every training image, read by many runs."""
