#!/usr/bin/env bash
# Test the finished runs of a script again, on their own test set and the shifted ones (Tables 12 and 13): no training.
#   bash scripts/ood_eval.sh METHOD DATASET SHOTS|PERCENT% [KEY VALUE ...]
#
# METHOD    a script of this folder without .sh, e.g. coop_dho; its METHODS, SEEDS, CFG and TAG select the runs
# KEY VALUE overrides for the evaluation, e.g. TEST.ALL_CLASSES True, with EVALUATION=all_classes for a file of its own
# Each run keeps its results.json and gains evaluation.json (EVALUATION=name: name.json); what is there is passed over.
set -euo pipefail

cd "$(dirname "$0")/.."
script=scripts/${1:-}.sh
if [ $# -lt 3 ] || ! grep -qs '^\(compare\|students\) ' "$script"; then
    sed -n '3,8s/^# \{0,1\}//p' scripts/ood_eval.sh >&2
    echo "METHOD is one of: $(grep -l '^\(compare\|students\) ' scripts/*.sh | sed 's,scripts/\(.*\)\.sh,\1,' | xargs)" >&2
    exit 2
fi
shift
export ACTION=evaluate EVALUATION=${EVALUATION:-evaluation}
exec bash "$script" "$@"
