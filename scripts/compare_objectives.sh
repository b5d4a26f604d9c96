#!/usr/bin/env bash
# Every objective of Table 1 on one student, the same images and the same number of steps: CE, KD and CE+KD on logits and on
# features, the dual-head rivals SSKD and DHKD, and DHO.
#   bash scripts/compare_objectives.sh DATASET SHOTS|PERCENT% [STUDENT [TEACHER]] [KEY VALUE ...]
. "$(dirname "$0")/common.sh"
rivals="FinetuneDHO-kd FinetuneDHO-kd_feature FinetuneDHO-ce_kd_feature FinetuneDHO-ce_kd FinetuneDHO-sskd FinetuneDHO-dhkd"
students compare_objectives "Finetune $rivals FinetuneDHO" "$@"
