#!/usr/bin/env bash
# PromptSRC, PromptSRC + DHO on the labelled images, PromptSRC + DHO with unlabelled images: three rows of Table 13.
#   bash scripts/promptsrc_dho.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]      (scripts/common.sh explains the rest)
. "$(dirname "$0")/common.sh"
compare promptsrc_dho PromptSRCDHO "vit_b16_c2_ep50_batch4_4+4ctx_few_shot" \
    "PromptSRC PromptSRCDHO-labeled PromptSRCDHO" "$@"
