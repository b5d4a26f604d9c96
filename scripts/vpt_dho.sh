#!/usr/bin/env bash
# VPT, the same + DHO on the labelled images, and + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/vpt_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
compare vpt_dho VPTDHO vit_b16_vpt3 "VPT VPTDHO-labeled VPTDHO" "$@"
