"""What DHO adds to its host: differences of paired seeds on the same labelled images."""

from __future__ import annotations

from collections.abc import Sequence

from dho_prompt.tables.groups import host_name
from dho_prompt.tables.results import Result
from dho_prompt.tables.rows import Row, main_rows
from dho_prompt.tables.settings import agree, without_settings

GAIN = {"accuracy": "gain by", "ece": "change by"}


def gains(rows: Sequence[Row], runs: dict[str, list[Result]], measure: str) -> tuple[list[Row], list[str]]:
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
        host = _host(method, runs)
        if host is None:
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


def _host(method: str, runs: dict[str, list[Result]]) -> str | None:
    """The row of the plain method, the one of the same settings if there are several; None without such a row."""
    host = host_name(method)
    if host == without_settings(method):
        return None
    found = [row for row in runs if without_settings(row) == host and agree(runs[row][0], runs[method][0])]
    return found[0] if len(found) == 1 else None


def _of(row: Row, column: str, seed: int) -> float:
    return row.values[column][row.seeds.index(seed)]


def _same_labelled(first: Result, second: Result) -> bool:
    splits = first["split"], second["split"]
    return None not in splits and splits[0]["labelled_hash"] == splits[1]["labelled_hash"]
