#!/usr/bin/env bash
# Finetuning of a compact student with labels alone, with labels and teacher on one head, and with DHO: rows of Table 1
# (few shots) or Table 4 (a share of the labels).
#   bash scripts/finetune_dho.sh DATASET SHOTS|PERCENT% [STUDENT [TEACHER]] [KEY VALUE ...]   (scripts/common.sh: the rest)
. "$(dirname "$0")/common.sh"
students finetune_dho "Finetune FinetuneDHO-ce_kd FinetuneDHO" "$@"
