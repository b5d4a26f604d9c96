#!/usr/bin/env bash
# Every method with and without DHO, and every objective of Table 1 on students trained in full, over the number of shots:
# one set of tables and pictures.
#   bash scripts/compare_methods.sh DATASET ["SHOTS ..."] [KEY VALUE ...]      (scripts/common.sh explains the rest)
# SHOTS     default "1 2 4 8 16"
# Environment besides that of common.sh:
#   STUDENTS="..."  students trained in full, as finetune_dho.sh takes them; "own" is the data set's own recipe. Default: the
#                   data set's recipes, else resnet18
set -euo pipefail

cd "$(dirname "$0")/.."
if [ $# -lt 1 ]; then
    echo 'bash scripts/compare_methods.sh DATASET ["1 2 4 8 16"] [KEY VALUE ...]' >&2
    exit 2
fi
dataset=$1 shots=${2:-1 2 4 8 16}
shift $(($# < 2 ? $# : 2))
export OUTPUT=${OUTPUT:-output}

recipes=configs/trainers/FinetuneDHO
if [ -f "$recipes/$dataset.yaml" ]; then own=own; else own=resnet18; fi
if [ "$own" = own ] && [ -f "$recipes/${dataset}_resnet18.yaml" ]; then own="$own resnet18"; fi

# list SCRIPT STUDENT [KEY VALUE ...]: its runs with METHODS, for every number of shots
list() {
    local script=$1 student=$2 n
    shift 2
    for n in $shots; do
        ACTION=list bash "scripts/$script.sh" "$dataset" "$n" ${student:+"$student"} "$@"
    done
}

# everything [KEY VALUE ...]: all runs as one list, the long ones first
everything() {
    local student
    for student in ${STUDENTS-$own}; do
        [ "$student" != own ] || student=
        METHODS='' list compare_objectives "$student" "$@"
    done
    METHODS="PromptSRC PromptSRCDHO-ce_kd PromptSRCDHO" list promptsrc_dho '' "$@"
    METHODS="VPT VPTDHO-ce_kd VPTDHO" list vpt_dho '' "$@"
    METHODS="CoOp CoOpDHO-ce_kd CoOpDHO" list coop_dho '' "$@"
    METHODS="LinearProbe LinearProbeDHO-ce_kd LinearProbeDHO" list linear_probe_dho '' "$@"
    printf '%s\0' 4 report "$OUTPUT/$dataset" --save "$OUTPUT/$dataset/compare_methods"
}

runs=$(mktemp)
trap 'rm -f "$runs"' EXIT
everything "$@" >"$runs"
exec <"$runs"
rm "$runs"
exec "${PYTHON:-python}" -m dho_prompt.compare
