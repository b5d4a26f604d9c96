#!/usr/bin/env bash
# DHO on one student with heads of several kinds and starts: non-linear heads (Tables 14 and 15) and, for CLIPs' students, the
# start from language of each head and the alignment of the KD head (Table 5).
#   bash scripts/compare_heads.sh DATASET SHOTS|PERCENT% [STUDENT [TEACHER]] [KEY VALUE ...]     (scripts/common.sh: the rest)
# Environment besides that of common.sh:
#   HEADS="..."   what is compared: no_init ce_init kd_init both_init (both linear, these from language), recipe (the heads of
#                 the recipe), nl_ce nl_kd nl_both (these non-linear). Default: all that the student can have
. "$(dirname "$0")/common.sh"
does=${ACTION:-train} # or evaluate
ACTION=heads
by=(TRAINER.FINETUNE.HEAD TRAINER.FINETUNE.HEAD_INIT TRAINER.DHO.HEAD TRAINER.DHO.HEAD_INIT)
every=()

# heads_run [KEY VALUE ...]: one seed with all kinds of heads, each in the folder that a TAG of that name would give it
heads_run() {
    local kinds="recipe nl_ce nl_kd nl_both" kind
    grep -q 'HEAD_INIT: "kaiming"' "$configs/$cfg.yaml" || kinds="no_init ce_init kd_init both_init $kinds"
    for kind in ${HEADS:-$kinds}; do
        case $kind in
            recipe) with_heads '' '' "$@" ;;
            nl_ce) with_heads "nonlinear kaiming" '' "$@" ;;
            nl_kd) with_heads '' "nonlinear kaiming" "$@" ;;
            nl_both) with_heads "nonlinear kaiming" "nonlinear kaiming" "$@" ;;
            no_init) with_heads "linear kaiming" "linear kaiming" "$@" ;;
            ce_init) with_heads "linear language" "linear kaiming" "$@" ;;
            kd_init) with_heads "linear kaiming" "linear language" "$@" ;;
            both_init) with_heads "linear language" "linear language" "$@" ;;
            *)
                echo "HEADS has $kind; allowed are no_init ce_init kd_init both_init recipe nl_ce nl_kd nl_both" >&2
                exit 2
                ;;
        esac
    done
}

# with_heads "CE_HEAD CE_START" "KD_HEAD KD_START" [KEY VALUE ...]: empty ones are the recipe's
with_heads() {
    local ce=($1) kd=($2) run=$run
    shift 2
    [ "$kind" = recipe ] || run=${run}_$kind
    every+=("$OUTPUT/$dataset/$method/$run")
    [ ${#ce[@]} = 0 ] || set -- "$@" "${by[0]}" "${ce[0]}" "${by[1]}" "${ce[1]}"
    [ ${#kd[@]} = 0 ] || set -- "$@" "${by[2]}" "${kd[0]}" "${by[3]}" "${kd[1]}"
    "${does}_run" "$@"
}

heads_end() {
    folders=()
    local folder
    while read -r folder; do folders+=("$folder"); done < <(printf '%s\n' "${every[@]}" | awk '!seen[$0]++')
    "${does}_end"
}

students compare_heads FinetuneDHO "$@"
