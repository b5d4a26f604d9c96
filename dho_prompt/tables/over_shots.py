"""Tables over the number of labelled images: one for a test set, with a column for each number of shots."""

from __future__ import annotations

from collections.abc import Sequence

from dho_prompt.tables.curves import columns_over_shots, tables_over_shots
from dho_prompt.tables.rows import Row, Table, main_rows


def over_shots(tables: Sequence[Table]) -> list[Table]:
    """What DHO gains and what each method reaches, by shots; like Figs. 5 and 6 in numbers.

    Args:
        tables: of one measure; those of a data set that has a single number of shots are left out.

    Returns:
        For each data set one table per test set: its own and what speaks for the shifted ones.
    """
    return [_table(found, name) for found in tables_over_shots(tables) for name in columns_over_shots(found)]


def _table(found: list[Table], name: str) -> Table:
    rows: dict[str, Row] = {}
    for table in found:
        gains = [row for row in table.rows if row.kind == "gain"]
        for row in [*main_rows(table.rows).values(), *gains]:
            whole = rows.setdefault(row.name, row._replace(values={}))
            whole.values[table.labelled] = row.values[name]
    seeds = {row.seeds for table in found for row in table.rows if row.kind == "run"}
    notes = [] if len(seeds) == 1 else ["Not all values are of the same seeds; the tables above say of which."]
    kinds = sorted(rows.values(), key=lambda row: row.signed)  # stable: methods as they were, then the gains
    columns = [table.labelled for table in found]
    return Table(found[0].dataset, name, found[0].measure, columns, kinds, [], notes, found[0].brackets)
