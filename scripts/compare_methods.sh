#!/usr/bin/env bash
# Every method with and without DHO, and every objective of Table 1 on students trained in full, over the number of shots:
# one set of tables and pictures.
#   bash scripts/compare_methods.sh DATASET ["SHOTS ..."] [KEY VALUE ...]      (scripts/common.sh explains the rest)
# SHOTS     default "1 2 4 8 16"
# Environment besides that of common.sh:
#   STUDENTS="..."  students trained in full, as finetune_dho.sh takes them; "own" is the data set's own recipe. Default: the
#                   data set's recipes, else resnet18
#   JOBS=N          scripts at a time; default: as many as there are processors
set -euo pipefail

cd "$(dirname "$0")/.."
if [ $# -lt 1 ]; then
    echo 'bash scripts/compare_methods.sh DATASET ["1 2 4 8 16"] [KEY VALUE ...]' >&2
    exit 2
fi
dataset=$1 shots=${2:-1 2 4 8 16}
shift $(($# < 2 ? $# : 2))
export OUTPUT=${OUTPUT:-output}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
logs=$OUTPUT/$dataset/compare_methods_logs
mkdir -p "$logs"

recipes=configs/trainers/FinetuneDHO
if [ -f "$recipes/$dataset.yaml" ]; then own=own; else own=resnet18; fi
if [ "$own" = own ] && [ -f "$recipes/${dataset}_resnet18.yaml" ]; then own="$own resnet18"; fi

# work: one line per script and number of shots, the long ones first
work() {
    local n student
    for n in $shots; do
        for student in ${STUDENTS-$own}; do
            echo "compare_objectives $n $student"
        done
        echo "promptsrc_dho $n PromptSRC PromptSRCDHO-ce_kd PromptSRCDHO"
        echo "coop_dho $n CoOp CoOpDHO-ce_kd CoOpDHO"
        echo "vpt_dho $n VPT VPTDHO-ce_kd VPTDHO"
        echo "linear_probe_dho $n LinearProbe LinearProbeDHO-ce_kd LinearProbeDHO"
    done
}

# one SCRIPT SHOTS STUDENT|METHODS... : run it with its output in a file, and say how it ended
one() {
    local script=$1 n=$2 log started=$SECONDS student=()
    shift 2
    log=$logs/${script}_$n.txt
    if [ "$script" = compare_objectives ]; then
        log=$logs/${script}_${n}_$1.txt
        [ "$1" = own ] || student=("$1")
        unset METHODS
    else
        export METHODS=$*
    fi
    # shellcheck disable=SC2086
    if bash "scripts/$script.sh" "$dataset" "$n" ${student[@]+"${student[@]}"} ${OVERRIDES} >"$log" 2>&1; then
        echo "finished in $((SECONDS - started)) s: $script $dataset $n ${student[*]-}"
    else
        echo "FAILED: $script $dataset $n ${student[*]-}; see $log" >&2
        return 1
    fi
}
export -f one
export dataset logs OVERRIDES="$*"

echo "$(work | wc -l) comparisons, $jobs at a time; what each prints is in $logs"
work | xargs -P "$jobs" -I{} bash -c 'one {}'
"${PYTHON:-python}" -m dho_prompt.report "$OUTPUT/$dataset" --save "$OUTPUT/$dataset/compare_methods"
