"""Running a checkout's own train.py with DHO beside it, no line of it edited."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dho_prompt.hosts.imports import imports_explained, refuse_two_checkouts

SUFFIX = "DHO"


def run_checkout(checkout: Path, arguments: Sequence[str], in_place: bool = False) -> None:
    """Run ``python train.py ARGUMENTS`` in a checkout, where ``--trainer NameDHO`` is its ``Name`` with DHO.

    What the two lines of the recipe do is done while train.py runs: ``dho_prompt.extend_cfg(cfg)`` behind its own
    ``extend_cfg(cfg)``, and ``with_dho`` when the trainer is built. The host's own trainers run too, repaired.

    Args:
        checkout: the folder that holds train.py; it becomes the working folder, as its relative paths expect.
        arguments: train.py's.
        in_place: ``--trainer Name`` is the one with DHO, for code that compares TRAINER.NAME.

    Raises:
        ValueError: the folder is no Dassl-style code base, or something that train.py imports is not installed.
    """
    script = find_script(checkout)
    os.chdir(script.parent)
    sys.argv = [str(script), *arguments]
    execute(script, "__main__", in_place)


def execute(script: Path, name: str, in_place: bool = False) -> dict[str, Any]:
    """Execute a train.py under a module name, with DHO beside or in its trainers; returns the names that it defines."""
    program = with_keys(ast.parse(script.read_text(encoding="utf-8"), str(script)), script)
    sys.path.insert(0, str(script.parent))
    namespace = {"__name__": name, "__file__": str(script)}
    with imports_explained(str(script)):
        _plug_in_when_built(script, in_place)
        exec(compile(program, str(script), "exec"), namespace)
    return namespace


def find_script(checkout: Path) -> Path:
    """The checkout's train.py.

    Raises:
        ValueError: there is none, or it is not of the CoOp family.
    """
    script = Path(checkout).resolve() / "train.py"
    if not script.parent.is_dir():
        raise ValueError(f"there is no folder {checkout}; name the one that holds the checkout's train.py")
    if not script.is_file():
        below = sorted(path.parent for path in script.parent.glob("*/train.py"))
        hint = f"; there is one in {', '.join(map(str, below))}" if below else ""
        raise ValueError(f"{checkout} has no train.py, so it is no checkout of a Dassl-style code base{hint}")
    text = script.read_text(encoding="utf-8")
    if "dassl" not in text or "build_trainer" not in text:
        raise ValueError(f"{script} does not build its trainer by Dassl's build_trainer, so it is no Dassl-style one")
    return script


def with_keys(program: ast.Module, script: Path) -> ast.Module:
    """A parsed train.py in which ``dho_prompt.extend_cfg`` follows every call of its own ``extend_cfg``.

    Raises:
        ValueError: it has none.
    """
    added = 0
    for node in ast.walk(program):
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if not isinstance(body, list):
                continue
            for index in reversed(range(len(body))):
                config = _extended(body[index])
                if config:
                    (line,) = ast.parse(f"__import__('dho_prompt').extend_cfg({config})").body
                    body.insert(index + 1, line)
                    added += 1
    if not added:
        raise ValueError(f"{script} calls no extend_cfg(cfg), behind which DHO's keys could be added; add them by hand")
    return ast.fix_missing_locations(program)


def _extended(statement: ast.stmt) -> str:
    """The name of the config in ``extend_cfg(cfg)``, or ""."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "extend_cfg":
        return ""
    return call.args[0].id if call.args and isinstance(call.args[0], ast.Name) else ""


def _plug_in_when_built(script: Path, in_place: bool) -> None:
    """Let Dassl's build_trainer make ``NameDHO`` from a registered ``Name``, and repair what breaks in the others.

    In place, it makes ``Name`` so.
    """
    import dassl.engine

    from dho_prompt.engine import TRAINER_REGISTRY
    from dho_prompt.hosts.repairs import repair
    from dho_prompt.hosts.with_dho import with_dho

    build = dassl.engine.build_trainer

    def build_trainer(cfg: Any) -> Any:
        name, known = cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names()
        host = name if in_place else name[: -len(SUFFIX)] if name.endswith(SUFFIX) else ""
        for one in {name, host} & set(known):
            refuse_two_checkouts(TRAINER_REGISTRY.get(one), script)
        if host in known and (in_place or name not in known):
            with_dho(TRAINER_REGISTRY.get(host), name=name)
        elif name in known:
            repair()
        return build(cfg)

    dassl.engine.build_trainer = build_trainer
