#!/usr/bin/env bash
# VPT, the same + DHO on the labelled images, and + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/vpt_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
cfg=vit_b16_vpt3_ep200
if [ "${1:-}" = imagenet ]; then cfg=vit_b16_vpt3; fi
compare vpt_dho VPTDHO "$cfg" "VPT VPTDHO-labeled VPTDHO" "$@"
