"""Methods of Dassl's that a host has of its own: those that DHO needs to pass through are found, or refused by name."""

from __future__ import annotations

import inspect
from typing import Any

from dho_prompt.engine import TrainerX
from dho_prompt.hosts.adapters import Adapter
from dho_prompt.hosts.names_used import names_in
from dho_prompt.hosts.own import defines, is_engines

# method: what it must come to, and what goes wrong otherwise
THROUGH = {
    "test": (("model_inference",), "the KD head would be left out of every test"),
    "run_epoch": (("forward_backward", "batch_idx", "num_batches"), "its steps would be taken without DHO"),
    "train": (
        ("before_train", "before_epoch", "run_epoch", "after_epoch", "after_train"),
        "the run would not be set up, saved or tested",
    ),
    "before_train": (("resume_model_if_exist",), "a killed run would start again"),
    "after_train": (("test",), "the trained model would not be tested"),
}
BYPASSED = {
    "save_model": "checkpoints are written by DHO, which would pass it over",
    "resume_model_if_exist": "checkpoints are read by DHO, which would pass it over",
}


class EngineTest:
    """Dassl's test in place of a host's own, for an adapter that says how the host predicts."""

    def test(self, split: str | None = None, **more: Any) -> float:
        return TrainerX.test(self, split, **more)


def needs_engine_test(host: type, adapter: Adapter) -> bool:
    """Whether the host's test leaves ``model_inference`` out, and the adapter says what to call instead."""
    return adapter.predicts and defines(host, "test") and bool(missing(host, "test", ("model_inference",)))


def refuse_overridden(host: type, adapter: Adapter) -> None:
    """Refuse a host whose own methods pass DHO by, before anything is built.

    Raises:
        ValueError: names the method, what it leaves out and what to do.
    """
    for method, (names, otherwise) in THROUGH.items():
        if not defines(host, method) or (method == "test" and adapter.predicts):
            continue
        absent = missing(host, method, names)
        if absent:
            what = (
                "pass with_dho an adapter whose logits(trainer, images) returns the host's logits of test images, or "
                "let it call self.model_inference(images)"
                if method == "test"
                else f"let it use {' and '.join(f'self.{name}' for name in absent)}, or call super().{method}()"
            )
            raise ValueError(
                f"{host.__name__} has a {method}() of its own, which does not use "
                f"{', '.join(f'self.{name}' for name in absent)}: {otherwise}. {what[0].upper()}{what[1:]}"
            )
    for method, why in BYPASSED.items():
        if defines(host, method):
            raise ValueError(
                f"{host.__name__} has a {method}() of its own: {why}. Name the attributes that it saves in an "
                f"adapter's state, and subclass {host.__name__} with {method} = TrainerX.{method}"
            )


def missing(host: type, method: str, names: tuple[str, ...]) -> list[str]:
    """Which of the names no code of the host's that starts at ``method`` uses; none where Dassl's own is called."""
    used: set[str] = set()
    waiting, done = [method], set()
    while waiting:
        current = waiting.pop()
        if current in done:
            continue
        done.add(current)
        functions = [vars(cls)[current] for cls in host.__mro__ if current in vars(cls)]
        for function in functions:
            code = getattr(inspect.unwrap(function), "__code__", None)
            if code is None:
                return []  # nothing can be said of it
            if is_engines(inspect.unwrap(function)):  # Dassl's, reached by super() or by name
                if current == method:
                    return []
                break
            found = names_in(code)
            used |= found
            if not ("super" in found and current in found):
                break
        waiting += [name for name in used if name not in done and defines(host, name)]
    return [name for name in names if name not in used]
