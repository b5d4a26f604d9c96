"""Where each token of a prompt list is computed: one shared beginning, then the prompts' own tokens, unpadded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Group(NamedTuple):
    """Prompts with equally many own tokens: ``count`` prompts of ``length`` rows each, from row ``start`` on."""

    start: int
    count: int
    length: int


class RowLayout:
    """The rows (tokens) that a causal tower must compute for a list of prompts, and nothing else.

    Rows 0..shared-1 are the beginning that all prompts have in common; in a causal tower its hidden states do not
    depend on what follows, so they are the same for every prompt. Behind it stand the own tokens of each prompt up to
    and including its end token, prompts of equal length side by side.

    Args:
        slots: per prompt a token id (>= 0) or ``-(j + 1)`` for context vector ``j`` (see ``PromptTokens``).
        class_specific: each prompt has its own context vectors, so that only tokens can be shared.

    Attributes:
        shared: length of the common beginning, at least 1 (the start token).
        groups: the own tokens by length.
        token_ids, positions: (rows,) token id (0 where a context vector stands) and position in the prompt.
        context_rows, context_index: which rows hold a context vector, and which one of the flattened context.
        end_rows: (prompts,) row of each prompt's end token, in the order of the groups.
        restore: (prompts,) brings that order back to the order of the prompts.
    """

    def __init__(self, slots: Sequence[Sequence[int]], class_specific: bool):
        self.shared = _common_beginning(slots, class_specific)
        order = sorted(range(len(slots)), key=lambda index: len(slots[index]))
        n_ctx = sum(slot < 0 for slot in slots[0])

        rows = [(slot, position, 0) for position, slot in enumerate(slots[0][: self.shared])]
        end_rows: list[int] = []
        self.groups: list[Group] = []
        for index in order:
            own = slots[index][self.shared :]
            if self.groups and self.groups[-1].length == len(own):
                self.groups[-1] = self.groups[-1]._replace(count=self.groups[-1].count + 1)
            else:
                self.groups.append(Group(len(rows), 1, len(own)))
            first_vector = index * n_ctx if class_specific else 0
            rows += [(slot, self.shared + offset, first_vector) for offset, slot in enumerate(own)]
            end_rows.append(len(rows) - 1)

        context = [(row, first - slot - 1) for row, (slot, _, first) in enumerate(rows) if slot < 0]
        self.token_ids = torch.tensor([max(slot, 0) for slot, _, _ in rows])
        self.positions = torch.tensor([position for _, position, _ in rows])
        self.context_rows = torch.tensor([row for row, _ in context], dtype=torch.long)
        self.context_index = torch.tensor([vector for _, vector in context], dtype=torch.long)
        self.end_rows = torch.tensor(end_rows)
        self.restore = torch.tensor(order).argsort()

    def to(self, device: torch.device) -> RowLayout:
        """Move the index tensors in place."""
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(self, name, value.to(device))
        return self


def _common_beginning(slots: Sequence[Sequence[int]], class_specific: bool) -> int:
    """Number of leading slots that all prompts share; every prompt keeps its end token to itself."""
    limit = min(len(row) for row in slots) - 1
    for position in range(limit):
        values = {row[position] for row in slots}
        if len(values) > 1 or (class_specific and min(values) < 0):
            return position
    return limit
