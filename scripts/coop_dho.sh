#!/usr/bin/env bash
# CoOp, CoOp + DHO on the labelled images, CoOp + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/coop_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
compare coop_dho CoOpDHO vit_b16_ep50 "CoOp CoOpDHO-labeled CoOpDHO" "$@"
