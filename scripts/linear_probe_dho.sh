#!/usr/bin/env bash
# Linear probing, the same + DHO on the labelled images, and + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/linear_probe_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
compare linear_probe_dho LinearProbeDHO vit_b16_ep20 "LinearProbe LinearProbeDHO-labeled LinearProbeDHO" "$@"
