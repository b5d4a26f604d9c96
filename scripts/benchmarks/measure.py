"""Two ways to compute the same thing, timed in turns and compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


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
    """

    name: str
    setting: dict[str, Any]
    ours: Callable[[], dict[str, Tensor]]
    published: Callable[[], dict[str, Tensor]]
    goal: float | None = None
    weights: Sequence[nn.Module] = ()
    forwards: Sequence[Callable[[], Tensor]] = ()
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def measure(case: Case, repeats: int, device: torch.device) -> dict[str, Any]:
    """Run both ways ``repeats`` times in turns, after one pair that warms up and is compared.

    Returns:
        seconds of each run, the median of the pairs' ratios (published / ours), the largest difference of each result
        relative to its largest value, and, where :attr:`Case.forwards` are given, bytes that each keeps for backward.
    """
    first, second = case.ours(), case.published()
    record = {
        "name": case.name,
        "setting": case.setting,
        "goal": case.goal,
        "note": case.note,
        "difference": {name: difference(first[name], second[name]) for name in second},
        **case.more,
    }
    del first, second
    pairs = [(seconds(case.ours, device), seconds(case.published, device)) for _ in range(repeats)]
    record["ours"], record["published"] = [list(times) for times in zip(*pairs)]
    record["ratio"] = statistics.median(published / ours for ours, published in pairs)
    if case.forwards:
        record["kept"] = [kept_bytes(forward, case.weights, device) for forward in case.forwards]
    return record


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one run, until the device is done."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


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
