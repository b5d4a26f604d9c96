"""Prompt tokens: which token, or which learned context vector, stands at each position of a class's prompt.

The text convention is CoOp's (Zhou et al., "Learning to Prompt for Vision-Language Models"): the prompt of a class is
``<start> X X ... X <class name>. <end>``, and the tokens at positions 1..n_ctx are replaced by learned vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

POSITIONS = ("end", "middle", "front")


class PromptTokens:
    """The prompts of a class list as rows of slots.

    A slot is a token id (>= 0) or, for the context vector ``j``, the number ``-(j + 1)``.

    Args:
        tokenizer: has ``encode(text) -> list of ids``, ``sot_token_id``, ``eot_token_id`` and ``context_length``.
        classnames: one name per class; ``_`` counts as a space.
        n_ctx: number of learned context vectors, at least 1.
        position: where the class name stands: after ("end"), before ("front") or in the midst ("middle", after the
            first ``n_ctx // 2`` vectors) of the context.
        prefix: the words that the context was made from (CoOp's CTX_INIT); their number must be ``n_ctx``. A word
            that makes several tokens shifts the rest of the words behind the context, as it does in CoOp. With the
            name at the end there may be more words: those behind the context stay words, as in PromptSRC.

    Raises:
        ValueError: no classes, an unknown position, a prompt longer than the tower's context, or a tokenizer that
            cannot be used for prompts.

    Attributes:
        slots: per class the slots of the whole prompt, from ``<start>`` to ``<end>``.
        name_lengths: per class the number of tokens of its name.
    """

    def __init__(
        self,
        tokenizer: Any,
        classnames: Sequence[str],
        n_ctx: int,
        position: str = "end",
        prefix: str = "",
    ):
        if position not in POSITIONS:
            raise ValueError(f"unknown class token position {position!r}; allowed are {', '.join(POSITIONS)}")
        if len(classnames) == 0:
            raise ValueError("the class list is empty; give at least one class name")
        if n_ctx < 1:
            raise ValueError(f"N_CTX must be at least 1, {n_ctx} was given")
        prefix = prefix.replace("_", " ")
        given = len(prefix.split())
        if prefix and (given < n_ctx or (given > n_ctx and position != "end")):
            raise ValueError(f"the initial context {prefix!r} has {given} words, but N_CTX is {n_ctx}")
        check_tokenizer(tokenizer)

        self.classnames = list(classnames)
        self.n_ctx = n_ctx
        self.position = position
        self.context_length = tokenizer.context_length
        words = prefix or " ".join(["X"] * n_ctx)
        names = [name.replace("_", " ") for name in classnames]
        self.name_lengths = [len(tokenizer.encode(name)) for name in names]
        rows = [token_row(tokenizer, f"{words} {name}.") for name in names]
        self._check_lengths(rows)
        self.slots = [self._arrange(row, length) for row, length in zip(rows, self.name_lengths)]

    def _check_lengths(self, rows: list[list[int]]) -> None:
        longest = max(range(len(rows)), key=lambda index: len(rows[index]))
        length = len(rows[longest])
        if length > self.context_length:
            fits = self.n_ctx - (length - self.context_length)
            advice = f"the largest N_CTX that fits is {fits}" if fits >= 1 else "no N_CTX fits: shorten the name"
            raise ValueError(
                f"the prompt of class {self.classnames[longest]!r} has {length} tokens with N_CTX {self.n_ctx}, the "
                f"text tower reads {self.context_length}; {advice}"
            )

    def _arrange(self, row: list[int], name_length: int) -> list[int]:
        context = [-(j + 1) for j in range(self.n_ctx)]
        name = row[1 + self.n_ctx : 1 + self.n_ctx + name_length]
        rest = row[1 + self.n_ctx + name_length :]
        before = {"end": self.n_ctx, "middle": self.n_ctx // 2, "front": 0}[self.position]
        return row[:1] + context[:before] + name + context[before:] + rest


def check_tokenizer(tokenizer: Any) -> None:
    """Raise ``ValueError`` unless the tokenizer gives the ids that prompts are built from."""
    needed = ("encode", "sot_token_id", "eot_token_id", "context_length")
    missing = [name for name in needed if getattr(tokenizer, name, None) is None]
    if missing:
        raise ValueError(
            f"the tokenizer {type(tokenizer).__name__} lacks {', '.join(missing)}: learned prompts need a CLIP with "
            "OpenAI's byte-pair tokenizer (start and end tokens); choose another model"
        )


def token_row(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text with its start and end token, neither padded nor cut."""
    return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]


def padded_ids(rows: Sequence[Sequence[int]], context_length: int, placeholder: int) -> torch.Tensor:
    """Slots as a token matrix (rows, context_length), zeros behind the end token, ``placeholder`` for the context."""
    ids = torch.zeros(len(rows), context_length, dtype=torch.long)
    for target, row in zip(ids, rows):
        target[: len(row)] = torch.tensor([slot if slot >= 0 else placeholder for slot in row])
    return ids
