#!/usr/bin/env bash
# Zero-shot CLIP: the first row of Table 13.
#   bash scripts/zeroshot.sh DATASET [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
SEEDS=${SEEDS:-1} compare zeroshot ZeroshotCLIP vit_b16 ZeroshotCLIP "${1:-}" ${1:+all} "${@:2}"
