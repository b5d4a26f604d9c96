#!/usr/bin/env bash
# CoOp and CoOp + DHO over seeds, then a table.
#
#   bash scripts/coop_dho.sh DATASET SHOTS [KEY VALUE ...]
#
# DATASET   a file of configs/datasets without .yaml: digits (needs no download) or imagenet
# SHOTS     labelled images per class
# KEY VALUE configuration overrides, e.g. TRAINER.DHO.UNLABELED none
# Environment:
#   DATA=data       folder of the data sets            OUTPUT=output     folder of the results
#   SEEDS="1 2 3"   seeds                              METHODS="CoOp CoOpDHO"
#   CFG=name        a file of configs/trainers/CoOpDHO (default: the data set's own, else vit_b16_ep50)
#   TAG=name        sets runs with other overrides apart       PYTHON=python
# Finished seeds are passed over, interrupted ones resume.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
DATASET=$1
SHOTS=$2
shift 2

cd "$(dirname "$0")/.."
DATA=${DATA:-data}
OUTPUT=${OUTPUT:-output}
PYTHON=${PYTHON:-python}
CONFIGS=configs/trainers/CoOpDHO
if [ -z "${CFG:-}" ]; then
    CFG=vit_b16_ep50
    if [ -f "$CONFIGS/$DATASET.yaml" ]; then CFG=$DATASET; fi
fi
NAME=${CFG}_${SHOTS}shots${TAG:+_$TAG}

FOLDERS=()
for METHOD in ${METHODS:-CoOp CoOpDHO}; do
    FOLDERS+=("$OUTPUT/$DATASET/$METHOD/$NAME")
    for SEED in ${SEEDS:-1 2 3}; do
        "$PYTHON" -m dho_prompt.train \
            --root "$DATA" \
            --seed "$SEED" \
            --trainer "$METHOD" \
            --dataset-config-file "configs/datasets/$DATASET.yaml" \
            --config-file "$CONFIGS/$CFG.yaml" \
            --output-dir "$OUTPUT/$DATASET/$METHOD/$NAME/seed$SEED" \
            DATASET.NUM_SHOTS "$SHOTS" "$@"
    done
done
"$PYTHON" -m dho_prompt.report "${FOLDERS[@]}" --save "$OUTPUT/$DATASET/coop_dho_$NAME"
