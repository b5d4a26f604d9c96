#!/usr/bin/env bash
# CoOp, CoOp + DHO on the labelled images, CoOp + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/coop_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
case ${1:-}/${2:-} in # CoOp's own settings; the recipes say why
    imagenet/*) cfg=vit_b16_ep50_ctxv1 ;;
    */2 | */4) cfg=vit_b16_ep100 ;;
    */8 | */16) cfg=vit_b16_ep200 ;;
    *) cfg=vit_b16_ep50 ;;
esac
compare coop_dho CoOpDHO "$cfg" "CoOp CoOpDHO-labeled CoOpDHO" "$@"
