#!/usr/bin/env bash
# Tip-Adapter and Tip-Adapter-F: few-shot CLIPs, and the few-shot teachers of DHO-F (Table 1).
#   bash scripts/tip_adapter.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
# A run's folder teaches by TRAINER.DHO.TEACHER.CHECKPOINT, with TRAINER.DHO.TEACHER.NAME its CLIP.
. "$(dirname "$0")/common.sh"
compare tip_adapter TipAdapterF rn50 "TipAdapter TipAdapterF" "$@"
