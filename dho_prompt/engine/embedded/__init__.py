"""An engine with Dassl's contract for machines without Dassl.

The names, config keys, log lines, output folders, checkpoint layout and learning rates follow Dassl v0.6.3 (MIT, Zhou
et al., https://github.com/KaiyangZhou/Dassl.pytorch); the code is ours. Import the names from ``dho_prompt.engine``,
which also knows the real Dassl.
"""
