"""Two ways to compute the same thing, timed in turns and compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


@dataclass
class Case:
    """One comparison.

    Attributes:
        name: e.g. ``coop step, 100 classes``.
        setting: what was computed, for the record: classes, batch, depth, ...
        ours, published: run once and return what must agree, by name (gradients, features, losses).
        goal: the ratio that is wanted, or None.
        weights: modules whose tensors do not count as memory kept for the backward pass.
        forwards: of ours and of the published way, to measure what the graph keeps; () leaves that out.
        note: a sentence on how the published way was run, where that is not obvious.
        others: further ways of ours as (name, goal, run), each measured against the same runs of the published way.
    """

    name: str
    setting: dict[str, Any]
    ours: Callable[[], dict[str, Tensor]]
    published: Callable[[], dict[str, Tensor]]
    goal: float | None = None
    weights: Sequence[nn.Module] = ()
    forwards: Sequence[Callable[[], Tensor]] = ()
    note: str = ""
    others: Sequence[tuple[str, float | None, Callable[[], dict[str, Tensor]]]] = ()


def measure(case: Case, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Run all ways ``repeats`` times in turns, after one round that warms up and is compared.

    With 0 ``repeats`` the times are those of the first round, for computations of minutes. The published way begins:
    it takes the longest, so that the start of a process weighs least there.

    Returns:
        for the case and each of :attr:`Case.others` a record: seconds of each run, the median of the rounds' ratios
        (published / ours), the largest difference of each result relative to its largest value, and, where
        :attr:`Case.forwards` are given, bytes that each keeps for backward.
    """
    ways = [(case.name, case.goal, case.ours), *case.others]
    runs = [case.published] + [run for _, _, run in ways]
    made, first = zip(*[timed(run, device) for run in runs])
    rounds = [[timed(run, device)[1] for run in runs] for _ in range(repeats)] or [first]
    records = []
    for place, (name, goal, _) in enumerate(ways, 1):
        ratios = [times[0] / times[place] for times in rounds]
        records.append(
            {
                "name": name,
                "setting": case.setting,
                "goal": goal,
                "note": case.note,
                "difference": {part: difference(made[place][part], value) for part, value in made[0].items()},
                "ours": [times[place] for times in rounds],
                "published": [times[0] for times in rounds],
                "ratio": statistics.median(ratios),
            }
        )
    if case.forwards:
        records[0]["kept"] = [kept_bytes(forward, case.weights, device) for forward in case.forwards]
    return records


def timed(run: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """What a run returns, and its seconds until the device is done."""
    _wait(device)
    start = time.perf_counter()
    made = run()
    _wait(device)
    return made, time.perf_counter() - start


def kept_bytes(forward: Callable[[], Tensor], weights: Sequence[nn.Module], device: torch.device) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once, without weights; on CUDA the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        forward()
        return torch.cuda.max_memory_allocated() - before
    known = {weight.untyped_storage().data_ptr() for module in weights for weight in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward()  # alive until here, so that no address is used twice
    del output
    return sum(kept.values())


def difference(ours: Tensor, published: Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    return ((ours - published).abs().max() / published.abs().max()).item()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
