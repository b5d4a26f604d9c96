#!/usr/bin/env bash
# Linear probing, the same + DHO on the labelled images, and + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/linear_probe_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
cfg=vit_b16_ep200
if [ "${1:-}" = imagenet ]; then cfg=vit_b16_ep20; fi
compare linear_probe_dho LinearProbeDHO "$cfg" "LinearProbe LinearProbeDHO-labeled LinearProbeDHO" "$@"
