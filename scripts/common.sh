# What all scripts share; they source it. Usage of each: bash scripts/<name>.sh DATASET SHOTS|PERCENT% [KEY VALUE ...]
#
# DATASET   a file of configs/datasets without .yaml, e.g. digits (needs no download) or imagenet
# SHOTS     labelled images per class; 1% labels that share of the training images, all labels all of them
# KEY VALUE configuration overrides, e.g. TRAINER.DHO.LAMBDA 0.7
# Environment:
#   DATA=data       folder of the data sets            OUTPUT=output     folder of the results
#   SEEDS="1 2 3"   seeds                              PYTHON=python
#   METHODS="..."   trainers to run and compare; behind a name with DHO -labeled trains it on the labelled images alone,
#                   -ce_kd or another TRAINER.DHO.OBJECTIVE trains that rival; CoOp-caspl and PromptSRC-caspl are
#                   CasPL's two stages
#   CFG=name        a file of configs/trainers/<trainer> (default: the data set's own, else the paper's)
#   TAG=name        sets runs with other overrides apart
#   JOBS=N          runs at a time (default: as many as the processors carry; one on CUDA)
#   VERBOSE=1       prints what each run logs, one run at a time
# Finished seeds are passed over, interrupted ones resume.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
DATA=${DATA:-data}
OUTPUT=${OUTPUT:-output}
PYTHON=${PYTHON:-python}
runs=() # what dho_prompt.compare is to make: for each run the number of its words, and the words
by=()   # settings that tell runs of one method apart in the tables

# compare NAME CONFIGS DEFAULT_CFG DEFAULT_METHODS DATASET SHOTS [KEY VALUE ...]: every method and seed, then the table.
# With ACTION=evaluate (scripts/ood_eval.sh) the finished runs are tested again instead of trained; with ACTION=list
# (scripts/compare_methods.sh) their list is written to stdout and nothing is run.
compare() {
    local name=$1 configs=configs/trainers/$2 default_cfg=$3 methods=${METHODS:-$4}
    shift 4
    if [ $# -lt 2 ] || [ -z "$1" ]; then
        echo "bash scripts/$name.sh DATASET SHOTS|PERCENT%|all [KEY VALUE ...]   METHODS=\"$methods\"" >&2
        sed -n '3,18s/^# \{0,1\}//p' scripts/common.sh >&2
        exit 2
    fi
    local dataset=$1 shots=$2 action=${ACTION:-train} labelled folders=() missing=() order= method seed cfg
    shift 2
    local again="METHODS=\"$methods\" SEEDS=\"${SEEDS:-1 2 3}\" ${CFG:+CFG=$CFG }${TAG:+TAG=$TAG }bash scripts/$name.sh"
    again="$again $dataset $shots"
    cfg=${CFG:-$default_cfg}
    if [ -z "${CFG:-}" ] && [ -f "$configs/$dataset.yaml" ]; then cfg=$dataset; fi
    case $shots in
        all) labelled=(DATASET.NUM_SHOTS -1) ;;
        *%) labelled=(DATASET.LABELED_PERCENT "${shots%\%}"); shots=${shots%\%}percent ;;
        *) labelled=(DATASET.NUM_SHOTS "$shots"); shots=${shots}shots ;;
    esac
    local run=${cfg}_$shots${TAG:+_$TAG}
    for method in $methods; do
        folders+=("$OUTPUT/$dataset/$method/$run")
        order="$method $order" # the long ones first: methods with DHO stand behind those without
    done
    for method in $order; do
        for seed in ${SEEDS:-1 2 3}; do
            "$action"_run "$@"
        done
    done
    "$action"_end
}

# add MODULE ARGUMENT ...: to the list
add() {
    runs+=("$#" "$@")
}

# students NAME DEFAULT_METHODS DATASET SHOTS [STUDENT [TEACHER]] [KEY VALUE ...]: compare for students trained in full.
# STUDENT chooses the recipe, TEACHER is a CLIP's name or a checkpoint that can teach; both have a part in folder names.
students() {
    local name=$1 methods=$2 dataset=${3:-} shots=${4:-} student= teacher= setting file tag
    shift $(($# < 4 ? $# : 4))
    local key='^([A-Z_0-9]+\.)+[A-Z_0-9]+$|^[A-Z_]+$'
    if [ $# -gt 0 ] && ! [[ $1 =~ $key ]]; then student=$1; shift; fi
    if [ $# -gt 0 ] && ! [[ $1 =~ $key ]]; then teacher=$1; shift; fi
    case $dataset/$shots in
        imagenet/*%) setting=imagenet_percent_${student:-vit_b16} ;;
        imagenet/*) setting=imagenet_shots_${student:-resnet18} ;;
        *) setting=shots_${student:-resnet18} ;;
    esac
    for file in "$dataset${student:+_$student}" "$setting"; do
        if [ -f "configs/trainers/FinetuneDHO/$file.yaml" ]; then
            setting=$file
            break
        fi
    done
    if [ -z "${CFG:-}" ] && [ -n "$student" ] && [ ! -f "configs/trainers/FinetuneDHO/$setting.yaml" ]; then
        echo "There is no recipe for the student $student on $dataset with $shots; recipes are:" >&2
        (cd configs/trainers/FinetuneDHO && printf '  %s\n' *.yaml) >&2
        echo "Another network: take one of them by CFG, and set MODEL.BACKBONE.NAME and MODEL.BACKBONE.WEIGHTS." >&2
        exit 2
    fi
    if [ -n "$teacher" ]; then
        tag=$(basename "$teacher" | tr -c 'A-Za-z0-9@._\n-' _)
        TAG=${TAG:+${TAG}_}$tag
        case $teacher in *"{seed}"*) tag=${teacher//[^A-Za-z0-9@._-]/_} tag=${tag: -60} ;; esac
        if { [ -e "$teacher" ] && [ ! -f "$teacher/open_clip_config.json" ]; } || [[ $teacher == *"{seed}"* ]]; then
            set -- TRAINER.DHO.TEACHER.CHECKPOINT "$teacher" "$@"
        else
            set -- TRAINER.DHO.TEACHER.NAME "$teacher" "$@"
        fi
    fi
    [ -n "${CFG:-}" ] || CFG=$setting
    compare "$name" FinetuneDHO "$setting" "$methods" "$dataset" "$shots" "$@"
}

# train_run [KEY VALUE ...]: one method and seed of compare, whose variables it reads
train_run() {
    local kind=()
    case $method in
        *-labeled) kind=(TRAINER.DHO.UNLABELED none) ;;
        *-caspl)
            local first=$OUTPUT/$dataset/$method-boost/$run/seed$seed node
            node=$(echo "${method%-caspl}" | tr a-z A-Z)
            train "${method%-caspl}DHO" "$first" TRAINER.DHO.OBJECTIVE kd "$@"
            kind=("TRAINER.$node.BOOST" "$first")
            ;;
        *-*) kind=(TRAINER.DHO.OBJECTIVE "${method#*-}") ;;
    esac
    train "${method%%-*}" "$OUTPUT/$dataset/$method/$run/seed$seed" ${kind[@]+"${kind[@]}"} "$@"
}

# train TRAINER FOLDER [KEY VALUE ...]
train() {
    add train \
        --root "$DATA" \
        --seed "$seed" \
        --trainer "$1" \
        --dataset-config-file "configs/datasets/$dataset.yaml" \
        --config-file "$configs/$cfg.yaml" \
        --output-dir "$2" \
        "${labelled[@]}" "${@:3}"
}

train_end() {
    add report "${folders[@]}" ${by[@]+--by "${by[@]}"} --save "$OUTPUT/$dataset/${name}_$run"
    exec "$PYTHON" -m dho_prompt.compare < <(printf '%s\0' "${runs[@]}")
}

list_run() {
    train_run "$@"
}

list_end() {
    add report "${folders[@]}" ${by[@]+--by "${by[@]}"} --save "$OUTPUT/$dataset/${name}_$run"
    printf '%s\0' "${runs[@]}"
}

# evaluate_run [KEY VALUE ...]: the configuration is the run's own; the shifted sets are those of the data set's file
evaluate_run() {
    local folder=$OUTPUT/$dataset/$method/$run/seed$seed
    if [ ! -f "$folder/results.json" ]; then
        missing+=("$folder")
        return
    fi
    add evaluate "$folder" \
        --root "$DATA" \
        --dataset-config-file "configs/datasets/$dataset.yaml" \
        --file "$EVALUATION.json" \
        "$@"
}

evaluate_end() {
    if [ ${#runs[@]} -gt 0 ]; then
        add report "${folders[@]}" ${by[@]+--by "${by[@]}"} --file "$EVALUATION.json" --ece --save "$OUTPUT/$dataset/${name}_${run}_$EVALUATION"
        [ ${#missing[@]} -gt 0 ] || exec "$PYTHON" -m dho_prompt.compare < <(printf '%s\0' "${runs[@]}")
        "$PYTHON" -m dho_prompt.compare < <(printf '%s\0' "${runs[@]}")
    fi
    echo "Not evaluated, for these runs are not finished:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    echo "They are made by (with the overrides of the other runs, if any):" >&2
    echo "  $again" >&2
    exit 1
}
