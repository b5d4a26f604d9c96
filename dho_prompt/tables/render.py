"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dho_prompt.tables.rows import MEASURES, Row, Table, mean_and_spread, seed_count

LATEX = {
    **{character: f"\\{character}" for character in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def cell(values: Sequence[float], signed: bool = False) -> str:
    """``mean ± sample standard deviation``, in percent or points."""
    mean, spread = mean_and_spread(values)
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    return text if spread is None else f"{text} ± {spread:.2f}"


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    return [cell(row.values[name], row.signed) if name in row.values else "" for name in columns]


def markdown(table: Table) -> str:
    """The table as Markdown, with its protocol and notes below."""
    from tabulate import tabulate

    lines = [[row.name, *_cells(row, table.columns)] for row in table.rows]
    headers = [MEASURES[table.measure], *table.columns]
    body = tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)
    notes = " ".join(filter(None, [_spread(table), table.brackets, *table.notes]))
    return f"**{table.title}**\n\n{body}\n\n{notes}\n" + "".join(f"- {line}\n" for line in table.protocol)


def _spread(table: Table) -> str:
    count = seed_count(table)
    if count == 1:
        return "One seed."
    return f"Mean ± sample standard deviation over {'the' if count is None else count} seeds."


def comma_separated(tables: Sequence[Table]) -> str:
    """One line per table, row and column: its mean, its spread, and the values of the seeds; numbers not rounded."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["dataset", "labelled", "measure", "row", "kind", "set", "mean", "std", "seeds", "values"])
    for table in tables:
        for row in table.rows:
            for column, values in row.values.items():
                mean, spread = mean_and_spread(values)
                start = [table.dataset, table.labelled, table.measure, row.name, row.kind, column]
                write([*start, mean, "" if spread is None else spread, len(values), " ".join(map(str, values))])
    return text.getvalue()


def latex(table: Table) -> str:
    """The table for a LaTeX document with the package booktabs; the protocol stands in comments."""
    said = filter(None, [table.title, *table.protocol, table.brackets, *table.notes])
    lines = [f"% {line}" for line in said]
    lines += [r"\begin{tabular}{l" + "c" * len(table.columns) + "}", r"\toprule"]
    lines += [" & ".join(map(_escape, [MEASURES[table.measure], *table.columns])) + r" \\", r"\midrule"]
    kind = table.rows[0].kind
    for row in table.rows:
        if (row.kind == "run") != (kind == "run"):
            lines.append(r"\midrule")
        kind = row.kind
        cells = [_latex_cell(text) for text in _cells(row, table.columns)]
        lines.append(" & ".join([_escape(row.name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(text: str) -> str:
    mean, _, spread = text.partition(" ± ")
    return (f"${mean}$" if mean else "") + (rf" {{\scriptsize$\pm${spread}}}" if spread else "")


def _escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
