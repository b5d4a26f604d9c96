"""What DHO adds to its host: differences of paired seeds on the same labelled images."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from dho_prompt.tables.groups import host_name
from dho_prompt.tables.results import Result
from dho_prompt.tables.rows import Row, main_rows

GAIN = {"accuracy": "gain by", "ece": "change by"}


def gains(rows: Sequence[Row], runs: Dict[str, List[Result]], measure: str) -> Tuple[List[Row], List[str]]:
    """Each row with DHO minus its host, over the seeds that both have.

    Args:
        rows: of the table, one value per run and column.
        runs: row -> its runs, seeds rising.
        measure: ``accuracy``, where more is better, or ``ece``, where less is.

    Returns:
        Rows of the kind ``gain``, and sentences that say why one is missing or of fewer seeds.
    """
    found, notes = [], []
    main, word = main_rows(rows), GAIN[measure]
    for method, seeds in runs.items():
        host = host_name(method)
        if host == method or host not in runs:
            continue
        before, after = ({run["seed"]: run for run in some} for some in (runs[host], seeds))
        common = sorted(set(before) & set(after))
        other = [seed for seed in common if not _same_labelled(before[seed], after[seed])]
        if other or not common:
            why = f"with seed {other[0]} they have other labelled images" if other else "they have no seed in common"
            notes.append(f"No {word.split()[0]} of {method} over {host} is given: {why}.")
            continue
        if len(common) < max(len(before), len(after)):
            notes.append(
                f"The {word.split()[0]} of {method} over {host} is of seed{'s' if len(common) > 1 else ''} "
                f"{' '.join(map(str, common))} alone."
            )
        values = {
            column: [_of(main[method], column, seed) - _of(main[host], column, seed) for seed in common]
            for column in main[host].values
        }
        found.append(Row(f"{word} {method}", values, "gain", method, tuple(common)))
    if found and measure == "ece":
        notes.append("Lower is better: a negative change is an improvement.")
    return found, notes


def _of(row: Row, column: str, seed: int) -> float:
    return row.values[column][row.seeds.index(seed)]


def _same_labelled(first: Result, second: Result) -> bool:
    splits = first["split"], second["split"]
    return None not in splits and splits[0]["labelled_hash"] == splits[1]["labelled_hash"]
