"""Tables over result files: methods by test sets, mean and spread over seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from dho_prompt.config import differences
from dho_prompt.evaluation.runs import RESULTS, binding
from dho_prompt.files import PathLike, read_json

HEADS = {"blend": "", "ce": " (CE head)", "kd": " (KD head)"}


class Row(NamedTuple):
    """Accuracies in percent of one predictor: set -> one value per seed, seeds rising."""

    name: str
    accuracy: Dict[str, List[float]]


class Table(NamedTuple):
    """One comparison: the runs of one data set and number of shots."""

    title: str
    columns: List[str]
    rows: List[Row]
    protocol: List[str]


def read_results(folders: Iterable[PathLike]) -> List[Dict[str, Any]]:
    """All result files below the folders.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is damaged.
    """
    folders = [Path(folder) for folder in folders]
    paths = sorted({path for folder in folders for path in folder.rglob(RESULTS)})
    if not paths:
        raise FileNotFoundError(
            f"no {RESULTS} below {', '.join(map(str, folders))}: no run there is finished; run its training command "
            "again, it resumes"
        )
    return [read_json(path) for path in paths]


def tables(results: Sequence[Dict[str, Any]]) -> List[Table]:
    """One table per data set and number of shots.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, or a seed stands twice.
    """
    groups: Dict[Tuple[str, int], Dict[str, List[Dict[str, Any]]]] = {}
    for result in results:
        comparison = groups.setdefault((result["dataset"], result["shots"]), {})
        comparison.setdefault(row_name(result), []).append(result)
    return [_table(dataset, shots, runs) for (dataset, shots), runs in sorted(groups.items())]


def row_name(result: Dict[str, Any]) -> str:
    """The trainer, and whether it had the labelled images alone (the middle rows of Table 13)."""
    alone = "mix" in result and result["split"]["unlabelled"] == 0
    return f"{result['trainer']}, labeled only" if alone else result["trainer"]


def _table(dataset: str, shots: int, runs: Dict[str, List[Dict[str, Any]]]) -> Table:
    rows: List[Row] = []
    protocol: List[str] = []
    everyone = [run["accuracy"] for seeds in runs.values() for run in seeds]
    columns = [name for name in everyone[0] if all(name in accuracy for accuracy in everyone)]
    for trainer in sorted(runs):
        seeds = sorted(runs[trainer], key=lambda result: result["seed"])
        _check_alike(trainer, seeds)
        heads = [head for head in HEADS if head in seeds[0]["accuracy"]["test"]]
        for head in heads:
            name = trainer + HEADS[head] if len(heads) > 1 else trainer
            rows.append(Row(name, {column: [run["accuracy"][column][head] for run in seeds] for column in columns}))
        protocol.append(_protocol(trainer, seeds))
    shifted = [name for name in columns if name != "test"]
    if len(shifted) > 1:
        columns = columns + ["mean shifted"]
        for row in rows:
            row.accuracy["mean shifted"] = [
                statistics.fmean(values) for values in zip(*(row.accuracy[n] for n in shifted))
            ]
    gain = _gain(rows, runs)
    title = f"{dataset}, {shots} shot{'s' if shots > 1 else ''}" if shots > 0 else f"{dataset}, all training images"
    return Table(title, columns, rows + ([gain] if gain else []), protocol)


def _gain(rows: List[Row], runs: Dict[str, List[Dict[str, Any]]]) -> Optional[Row]:
    """The DHO trainer minus its host, paired by seed, if both have the same seeds and labelled images."""
    for with_dho in runs:
        host = with_dho[: -len("DHO")]
        if not with_dho.endswith("DHO") or host not in runs:
            continue
        pairs = [{run["seed"]: run["split"]["labelled_hash"] for run in runs[name]} for name in (host, with_dho)]
        if pairs[0] != pairs[1]:
            return None
        before, after = (next(row for row in rows if row.name == name) for name in (host, with_dho))
        gains = {name: [b - a for a, b in zip(before.accuracy[name], after.accuracy[name])] for name in before.accuracy}
        return Row("gain by DHO", gains)
    return None


def _check_alike(trainer: str, seeds: Sequence[Dict[str, Any]]) -> None:
    numbers = [result["seed"] for result in seeds]
    twice = sorted({seed for seed in numbers if numbers.count(seed) > 1})
    if twice:
        raise ValueError(
            f"{trainer}: seed {twice[0]} has several results; name folders that hold one run per seed (one TAG, one "
            "config)"
        )
    first = _without_seed(seeds[0]["config"])
    for other in seeds[1:]:
        changed = differences(first, _without_seed(other["config"]))
        if changed:
            raise ValueError(
                f"{trainer}: seeds {seeds[0]['seed']} and {other['seed']} are runs of different configurations and "
                f"are not averaged: {'; '.join(changed[:5])}"
            )


def _without_seed(config: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in binding(config).items() if key != "SEED"}


def _protocol(trainer: str, seeds: Sequence[Dict[str, Any]]) -> str:
    first = seeds[0]
    parts = [
        f"{trainer}: {first['config']['MODEL']['BACKBONE']['NAME']}",
        f"seeds {' '.join(str(run['seed']) for run in seeds)}",
        f"{first['epochs']} epochs",
        f"{first['split']['labelled']} labelled",
    ]
    if "mix" in first:
        alphas = sorted({f"alpha {run['mix']['alpha']}, beta {run['mix']['beta']}" for run in seeds})
        how = "searched on validation" if first["mix"]["chosen"].startswith("searched") else "fixed"
        parts += [f"{first['split']['unlabelled']} unlabelled", f"teacher {first['teacher']['name']}"]
        parts += [f"{' | '.join(alphas)} ({how})"]
    parts += [f"splits {' '.join(run['split']['hash'][:8] for run in seeds)}"]
    parts += [f"engine {first['engine']}", f"torch {first['versions'].get('torch', '?')}", first["device"]]
    return ", ".join(parts)


def cell(values: Sequence[float], signed: bool = False) -> str:
    """``mean ± sample standard deviation``, in percent or points."""
    mean = f"{statistics.fmean(values):+.2f}" if signed else f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def markdown(table: Table) -> str:
    """The table as Markdown, with its protocol below."""
    from tabulate import tabulate

    lines = [
        [row.name] + [cell(row.accuracy[name], row.name.startswith("gain")) for name in table.columns]
        for row in table.rows
    ]
    body = tabulate(lines, headers=["accuracy (%)"] + table.columns, tablefmt="github", disable_numparse=True)
    count = len(table.rows[0].accuracy["test"])
    note = f"Mean ± sample standard deviation over {count} seeds." if count > 1 else "One seed."
    return f"**{table.title}**\n\n{body}\n\n{note}\n" + "".join(f"- {line}\n" for line in table.protocol)
