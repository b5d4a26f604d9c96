"""Tables over result files: methods by test sets, gains paired by seed, the paper's figures beside ours."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from dho_prompt.runs.groups import Result, compared, host_name
from dho_prompt.runs.paper import SETS, SOURCE, ZERO_SHOT, of_the_paper, paper_row

HEADS = {"blend": "", "ce": " (CE head)", "kd": " (KD head)"}
MEAN = "mean shifted"
MEASURES = {"accuracy": "accuracy (%)", "ece": "ECE (%, 15 bins)"}


class Row(NamedTuple):
    """One predictor, or a difference of two.

    Attributes:
        name: what stands before it.
        values: column -> one value per seed, seeds rising; percent, or points.
        kind: ``run``; ``gain`` of DHO over its host; ``paper``; ``difference`` of ours to the paper.
        method: the row of runs that it belongs to.
    """

    name: str
    values: Dict[str, List[float]]
    kind: str = "run"
    method: str = ""

    @property
    def signed(self) -> bool:
        return self.kind in ("gain", "difference")


class Table(NamedTuple):
    """One comparison: the runs of one data set and one choice of labelled images.

    Attributes:
        dataset, labelled: what the runs were trained on.
        measure: a key of :data:`MEASURES`.
        columns: test sets; those with fewer classes than the model say among how many their images were scored.
        rows: see :class:`Row`.
        protocol: one line per method: backbone, seeds, epochs, images, teacher, mix, splits, engine.
        notes: what else the reader must know.
    """

    dataset: str
    labelled: str
    measure: str
    columns: List[str]
    rows: List[Row]
    protocol: List[str]
    notes: List[str]

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.labelled}"


def tables(results: Sequence[Result], measure: str = "accuracy") -> List[Table]:
    """One table per data set and choice of labelled images, the fewest shots first.

    Args:
        results: contents of result files.
        measure: ``accuracy``, with gains and the paper's figures, or ``ece``, the calibration errors.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, a seed stands twice, or a file is too
            old to hold the measure.
    """
    for result in results:
        if measure not in result:
            raise ValueError(
                f"the {result['trainer']} run of seed {result['seed']} was written without calibration errors; "
                "evaluate it again (scripts/ood_eval.sh)"
            )
    return [_table(*key, runs, measure) for key, runs in compared(results).items()]


def _table(dataset: str, labelled: str, runs: Dict[str, List[Result]], measure: str) -> Table:
    everyone = [run for seeds in runs.values() for run in seeds]
    labels = {label: name for name, label in _labels(everyone[0]).items()}
    columns = [label for label in labels if all(label in _labels(run).values() for run in everyone)]
    partly = sorted({label for run in everyone for label in _labels(run).values()} - set(columns))
    notes = [f"Not tested by all runs, so left out: {', '.join(partly)}."] if partly else []
    rows = [row for method, seeds in runs.items() for row in _rows(method, seeds, columns, labels, measure)]
    columns = _add_means(rows, columns)
    if measure == "accuracy":
        gains, reasons = _gains(rows, runs)
        rows += gains + _beside_the_paper(rows, runs, labelled, columns, labels)
        notes += reasons + ([f"Paper: {SOURCE}."] if any(row.kind == "paper" for row in rows) else [])
    protocol = [_protocol(method, seeds) for method, seeds in runs.items()]
    return Table(dataset, labelled, measure, columns, rows, protocol, notes)


def _labels(run: Result) -> Dict[str, str]:
    """Test set -> heading of its column."""
    found = {}
    for name in run["accuracy"]:
        classes = run.get("classes", {}).get(name)
        fewer = classes is not None and classes["own"] != run["classes"]["test"]["own"]
        found[name] = f"{name} ({classes['scored']}-way)" if fewer else name
    return found


def _rows(method: str, seeds: List[Result], columns: List[str], labels: Dict[str, str], measure: str) -> List[Row]:
    heads = [head for head in HEADS if all(head in run["accuracy"]["test"] for run in seeds)]
    return [
        Row(
            method + (HEADS[head] if len(heads) > 1 else ""),
            {column: [run[measure][labels[column]][head] for run in seeds] for column in columns},
            method=method,
        )
        for head in heads
    ]


def _add_means(rows: List[Row], columns: List[str]) -> List[str]:
    """Give every row the mean of its shifted sets, seed by seed, if there are several; returns the columns."""
    shifted = [name for name in columns if name != "test"]
    if len(shifted) < 2:
        return columns
    for row in rows:
        row.values[MEAN] = [statistics.fmean(values) for values in zip(*(row.values[name] for name in shifted))]
    return [*columns, MEAN]


def _gains(rows: List[Row], runs: Dict[str, List[Result]]) -> Tuple[List[Row], List[str]]:
    """Each row with DHO minus its host, over the seeds that both have; notes say why a gain is missing."""
    gains, notes = [], []
    main = {row.method: row for row in reversed(rows)}  # the first row of a method: its blend, or its only head
    for method, seeds in runs.items():
        host = host_name(method)
        if host == method or host not in runs:
            continue
        places = [{run["seed"]: number for number, run in enumerate(found)} for found in (runs[host], seeds)]
        common = sorted(set(places[0]) & set(places[1]))
        other = [seed for seed in common if not _same_labelled(runs[host][places[0][seed]], seeds[places[1][seed]])]
        if other or not common:
            why = f"with seed {other[0]} they have other labelled images" if other else "they have no seed in common"
            notes.append(f"No gain of {method} over {host} is given: {why}.")
            continue
        if len(common) < max(map(len, places)):
            notes.append(f"The gain of {method} over {host} is of seeds {' '.join(map(str, common))} alone.")
        pairs = [(places[0][seed], places[1][seed]) for seed in common]
        before, after = main[host].values, main[method].values
        values = {column: [after[column][b] - before[column][a] for a, b in pairs] for column in before}
        gains.append(Row(f"gain by {method}", values, "gain", method))
    return gains, notes


def _same_labelled(first: Result, second: Result) -> bool:
    splits = first["split"], second["split"]
    return None not in splits and splits[0]["labelled_hash"] == splits[1]["labelled_hash"]


def _beside_the_paper(
    rows: List[Row], runs: Dict[str, List[Result]], labelled: str, columns: List[str], labels: Dict[str, str]
) -> List[Row]:
    """The paper's figure for each method that it has, and what ours is above it."""
    main = {row.method: row for row in reversed(rows)}
    found = []
    for method, seeds in runs.items():
        theirs = paper_row(method, labelled, seeds[0]["config"])
        if theirs is None:
            continue
        paper = _paper_values(theirs, seeds[0], columns, labels)
        ours = {column: statistics.fmean(main[method].values[column]) for column in paper}
        found.append(Row(f"{method}, paper", {column: [value] for column, value in paper.items()}, "paper", method))
        found.append(
            Row(f"{method}, ours - paper", {c: [ours[c] - value] for c, value in paper.items()}, "difference", method)
        )
    if "ZeroshotCLIP" not in runs and all(of_the_paper(seeds[0]["config"]) for seeds in runs.values()):
        seeds = next(iter(runs.values()))
        values = _paper_values(dict(zip(SETS, ZERO_SHOT.accuracy)), seeds[0], columns, labels)
        found.insert(0, Row("zero-shot CLIP, paper", {c: [value] for c, value in values.items()}, "paper"))
    return found


def _paper_values(
    theirs: Dict[str, float], run: Result, columns: List[str], labels: Dict[str, str]
) -> Dict[str, float]:
    """By our columns; the paper's ImageNet-A and -R are of 200 classes, so not beside ours of 1000."""
    values = {}
    for column in columns:
        name = labels.get(column)
        classes = run.get("classes", {}).get(name, {})
        if name in theirs and classes.get("own") == classes.get("scored"):
            values[column] = theirs[name]
    if MEAN in columns and all(column in values for column in columns if column != MEAN):
        values[MEAN] = statistics.fmean(value for column, value in values.items() if column != "test")
    return values


def _protocol(method: str, seeds: Sequence[Result]) -> str:
    first = seeds[0]
    splits = [run["split"] for run in seeds]
    parts = [
        f"{method}: {first['config']['MODEL']['BACKBONE']['NAME']}",
        f"seeds {' '.join(str(run['seed']) for run in seeds)}",
        f"{first['epochs']} epochs",
        "images not recorded" if splits[0] is None else f"{splits[0]['labelled']} labelled",
    ]
    if "mix" in first:
        pool = [] if splits[0] is None else [f"{splits[0]['unlabelled']} unlabelled"]
        parts += [*pool, f"teacher {first['teacher']['name']}", _mixes(seeds)]
    parts += [f"splits {' '.join(split['hash'][:8] for split in splits if split is not None)}"]
    parts += [f"engine {first['engine']}", f"torch {first['versions'].get('torch', '?')}", first["device"]]
    return ", ".join(parts)


def _mixes(seeds: Sequence[Result]) -> str:
    mixes: Dict[str, Any] = dict.fromkeys(f"alpha {run['mix']['alpha']}, beta {run['mix']['beta']}" for run in seeds)
    how = "searched on validation" if seeds[0]["mix"]["chosen"].startswith("searched") else "fixed"
    return f"{' | '.join(mixes)} ({how})"


def seed_count(table: Table) -> Optional[int]:
    """How many seeds every row of runs has; None if they differ."""
    counts = {len(row.values["test"]) for row in table.rows if row.kind == "run"}
    return counts.pop() if len(counts) == 1 else None
