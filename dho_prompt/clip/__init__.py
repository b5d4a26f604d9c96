"""CLIP: loading, prompt tokens, the prompted text encoder and zero-shot class features.

Loading needs open_clip (``pip install open_clip_torch``); the other files work on any model built by it.
"""
