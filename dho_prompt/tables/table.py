"""Tables over result files: methods by test sets, gains paired by seed, the paper's figures beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from dho_prompt.tables.beside_paper import beside_the_paper
from dho_prompt.tables.gains import gains
from dho_prompt.tables.groups import Group, compared, set_name
from dho_prompt.tables.results import Result, by_tested, untested_message
from dho_prompt.tables.rows import HEADS, MEAN, OWN_SETS, Row, Table
from dho_prompt.tables.settings import legend_of


def tables(results: Sequence[Result], measure: str = "accuracy") -> list[Table]:
    """One table per data set and choice of labelled images, the fewest shots first.

    Args:
        results: contents of result files.
        measure: ``accuracy``, with the paper's figures, or ``ece``, the calibration errors.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, a seed stands twice, a run was not
            tested, a file is too old to hold the measure, or the runs have no test set in common.
    """
    untested = by_tested(results)[1]
    if untested:
        raise ValueError(untested_message(untested))
    for result in results:
        if measure not in result:
            raise ValueError(
                f"the {result['trainer']} run of seed {result['seed']} was written without calibration errors; "
                "evaluate it again (scripts/ood_eval.sh)"
            )
    return [_table(group, measure) for group in compared(results)]


def _table(group: Group, measure: str) -> Table:
    everyone = [run for seeds in group.runs.values() for run in seeds]
    sets = {column: name for name, column in _columns(everyone[0]).items()}
    columns = [column for column in sets if all(column in _columns(run).values() for run in everyone)]
    partly = sorted({column for run in everyone for column in _columns(run).values()} - set(columns))
    if not columns:
        tested = "; ".join(
            f"{method} on {', '.join(_columns(seeds[0]).values())}" for method, seeds in group.runs.items()
        )
        raise ValueError(
            f"{group.dataset}, {group.labelled}: the runs have no test set in common ({tested}). Name those of one "
            "kind, or test them again on the same sets (scripts/ood_eval.sh, or TEST.SPLIT)"
        )
    rows = [row for method, seeds in group.runs.items() for row in _rows(method, seeds, columns, sets, measure)]
    columns = _add_means(rows, columns)
    found, notes = gains(rows, group.runs, measure)
    if measure == "accuracy":
        paper, sentences = beside_the_paper(rows, group, columns, sets)
        found, notes = found + paper, notes + sentences
    if partly:
        notes.insert(0, f"Not tested by all runs, so left out: {', '.join(partly)}.")
    notes = _on_validation(columns, everyone) + notes
    protocol = [_protocol(method, seeds) for method, seeds in group.runs.items()]
    brackets = legend_of(everyone[0])
    return Table(group.dataset, group.labelled, measure, columns, rows + found, protocol, notes, brackets)


def _columns(run: Result) -> dict[str, str]:
    """Test set -> heading of its column."""
    classes = run.get("classes", {})
    whole = next((classes[name]["own"] for name in OWN_SETS if name in classes), None)
    found = {}
    for name in run["accuracy"]:
        heading = set_name(name, run["config"])
        heading = name if heading in found.values() else heading
        fewer = name in classes and classes[name]["own"] != (whole or classes[name]["own"])
        found[name] = f"{heading} ({classes[name]['scored']}-way)" if fewer else heading
    return found


def _rows(method: str, seeds: list[Result], columns: list[str], sets: dict[str, str], measure: str) -> list[Row]:
    heads = [head for head in HEADS if all(head in run[measure][sets[columns[0]]] for run in seeds)]
    return [
        Row(
            method + (HEADS[head] if len(heads) > 1 else ""),
            {column: [run[measure][sets[column]][head] for run in seeds] for column in columns},
            method=method,
            seeds=tuple(run["seed"] for run in seeds),
        )
        for head in heads
    ]


def _add_means(rows: list[Row], columns: list[str]) -> list[str]:
    """Give every row the mean of its shifted sets, seed by seed, if there are several; returns the columns."""
    shifted = [name for name in columns if name not in OWN_SETS]
    if len(shifted) < 2:
        return columns
    for row in rows:
        row.values[MEAN] = [statistics.fmean(values) for values in zip(*(row.values[name] for name in shifted))]
    return [*columns, MEAN]


def _on_validation(columns: Sequence[str], runs: Sequence[Result]) -> list[str]:
    """That TEST.SPLIT val gives no test results, and what was chosen on the very images."""
    if "val" not in columns:
        return []
    chosen = ["alpha and beta"] if any(_searched(run) for run in runs) else []
    if any(run["config"].get("TEST", {}).get("FINAL_MODEL") == "best_val" for run in runs):
        chosen.append("the checkpoint")
    end = f", on which {' and '.join(chosen)} of some runs were chosen, which favours those" if chosen else ""
    return [f"val: validation images (TEST.SPLIT val){end}."]


def _protocol(method: str, seeds: Sequence[Result]) -> str:
    first = seeds[0]
    splits = [run["split"] for run in seeds]
    parts = [
        f"{method}: {first['config']['MODEL']['BACKBONE']['NAME']}",
        f"seeds {' '.join(str(run['seed']) for run in seeds)}",
        f"{first['epochs']} epochs",
        "images not recorded" if splits[0] is None else f"{splits[0]['labelled']} labelled",
    ]
    if "teacher" in first:
        pool = [] if splits[0] is None else [f"{splits[0]['unlabelled']} unlabelled"]
        parts += [
            *pool,
            f"teacher {(first['teacher'] or {'name': 'none'})['name']}",
            *([_mixes(seeds)] if "mix" in first else []),
        ]
    parts += [f"splits {' '.join(split['hash'][:8] for split in splits if split is not None)}"]
    parts += [f"engine {first['engine']}", f"torch {first['versions'].get('torch', '?')}", first["device"]]
    return ", ".join(parts)


def _mixes(seeds: Sequence[Result]) -> str:
    mixes: dict[str, Any] = dict.fromkeys(f"alpha {run['mix']['alpha']}, beta {run['mix']['beta']}" for run in seeds)
    return f"{' | '.join(mixes)} ({'searched on validation' if _searched(seeds[0]) else 'fixed'})"


def _searched(run: Result) -> bool:
    return run.get("mix", {}).get("chosen", "").startswith("searched")
