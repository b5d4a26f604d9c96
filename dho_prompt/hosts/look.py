"""What a checkout holds, read from its source: its trainers, which of them DHO fits, and what the others need."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dho_prompt.hosts.adapters import ADAPTERS
from dho_prompt.hosts.checkout import find_script
from dho_prompt.hosts.imports import how_to_install
from dho_prompt.hosts.overridden import THROUGH

FITS, ADAPTER, NOT = "fits", "needs an adapter", "does not fit"


class Source(NamedTuple):
    """A registered class as it stands in a file, and what the file says besides.

    Attributes:
        node: the class.
        module: of the file.
        missing: packages that are imported and not installed.
        tower: whether the file names an ``image_encoder``.
    """

    node: ast.ClassDef
    module: str
    missing: list[str]
    tower: bool


class Found(NamedTuple):
    """A registered trainer.

    Attributes:
        name: of the class.
        module: to import it from.
        verdict: FITS, ADAPTER or NOT.
        why: in words; "" where it simply fits.
    """

    name: str
    module: str
    verdict: str
    why: str


def look(checkout: Path) -> list[Found]:
    """The trainers of a checkout; nothing of it is executed.

    What only a step shows (a second model, a loss beside the model's output) is not seen here; it stops the first step.

    Raises:
        ValueError: the folder is no Dassl-style code base.
    """
    root = find_script(checkout).parent
    package = root / "trainers" / "__init__.py"
    imports_all = package.is_file() and "import" in package.read_text(encoding="utf-8")  # one package absent stops all
    classes: dict[str, Source] = {}
    absent: list[str] = []
    for path in sorted((root / "trainers").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(not part.isidentifier() for part in parts):
            continue  # .ipynb_checkpoints and the like
        text = path.read_text(encoding="utf-8", errors="replace")
        tree = ast.parse(text)
        missing = _not_installed(tree, root)
        absent += missing
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and _is_registered(node):
                classes[node.name] = Source(node, ".".join(parts), missing, "image_encoder" in text)
    if imports_all:
        absent = [*dict.fromkeys(absent)]
        classes = {name: source._replace(missing=absent) for name, source in classes.items()}
    return [_judge(name, classes) for name in classes]


def report(checkout: Path) -> str:
    """What :func:`look` found and the two edits, as text."""
    script, found = find_script(checkout), look(checkout)
    if not found:
        return f"{script.parent} has no registered trainer below trainers/"
    width = max(len(trainer.name) for trainer in found)
    lines = [f"{one.name:{width}}  {one.verdict}{f': {one.why}' if one.why else ''}" for one in found]
    usable = [one for one in found if one.verdict == FITS]
    if usable:
        one = usable[-1]
        lines += [
            "",
            f"In {script}, behind its imports:",
            f"    import dho_prompt, {one.module}; dho_prompt.with_dho({one.module}.{one.name})",
            "behind its extend_cfg(cfg):",
            "    dho_prompt.extend_cfg(cfg)",
            f"and then --trainer {one.name}DHO. Without an edit:",
            f"    python -m dho_prompt.hosts run {checkout} -- --trainer {one.name}DHO ...",
        ]
    return "\n".join(lines)


def _judge(name: str, classes: dict[str, Source]) -> Found:
    node, module, missing, tower = classes[name]
    lineage, bases = [node], _bases(node)
    while bases and bases[0] in classes and classes[bases[0]].node not in lineage:
        base = classes[bases[0]]
        lineage.append(base.node)
        tower, bases = tower or base.tower, _bases(base.node)
    methods: dict[str, ast.FunctionDef] = {}
    for one in reversed(lineage):
        methods.update((part.name, part) for part in one.body if isinstance(part, ast.FunctionDef))

    def found(verdict: str, why: str) -> Found:
        return Found(name, module, verdict, why)

    if missing:
        return found(NOT, f"it imports {', '.join(missing)}, not installed here (often: {how_to_install(missing[0])})")
    if "TrainerX" not in bases:
        return found(NOT, f"it extends {', '.join(bases) or 'nothing'}; DHO joins trainers on Dassl's TrainerX")
    if "forward_backward" not in methods:
        return found(NOT, "it has no forward_backward, so it trains nothing")
    if _takes_views(methods):
        return found(NOT, "its step takes several views of an image (DATALOADER.K_TRANSFORMS), DHO's crop gives one")
    used = {part for method in methods.values() for part in _attributes(method)}
    if "prograd_backward_and_update" in used - set(methods):
        return found(NOT, "its step is in a Dassl of its own (prograd_backward_and_update), which Dassl 0.6.3 has not")
    for method, (names, otherwise) in THROUGH.items():
        absent = _absent(methods, method, names)
        if absent and method == "test" and name in ADAPTERS and ADAPTERS[name].predicts:
            continue
        if absent and method == "test":
            return found(ADAPTER, "its test computes the predictions itself: logits(trainer, images) must give them")
        if absent:
            return found(NOT, f"its own {method}() leaves out {', '.join(absent)}: {otherwise}")
    if name in ADAPTERS:
        return found(FITS, "its adapter comes with dho_prompt")
    if not tower:
        return found(ADAPTER, "its file has no image_encoder: Adapter(image_encoder=...) must name its image tower")
    if not _sets(methods.get("build_model"), "model"):
        return found(ADAPTER, "its build_model sets no self.model: Adapter(model=..., image_encoder=...) must name it")
    return found(FITS, "")


def _absent(methods: dict[str, ast.FunctionDef], method: str, names: tuple[str, ...]) -> list[str]:
    """As :func:`dho_prompt.hosts.overridden.missing`, on source."""
    if method not in methods:
        return []
    used: set[str] = set()
    waiting, done = [method], set()
    while waiting:
        current = waiting.pop()
        done.add(current)
        parts = _attributes(methods[current])
        if current == method and "super" in {part.id for part in ast.walk(methods[current]) if _is_name(part)}:
            return []
        used |= parts
        waiting += [part for part in parts if part in methods and part not in done]
    return [name for name in names if name not in used]


def _attributes(node: ast.AST) -> set[str]:
    return {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _bases(node: ast.ClassDef) -> list[str]:
    return [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "?") for base in node.bases]


def _is_registered(node: ast.ClassDef) -> bool:
    return any("TRAINER_REGISTRY" in ast.dump(decorator) for decorator in node.decorator_list)


def _sets(method: ast.FunctionDef | None, attribute: str) -> bool:
    stores = [part for part in ast.walk(method) if isinstance(part, ast.Attribute)] if method else []
    return any(part.attr == attribute and isinstance(part.ctx, ast.Store) for part in stores)


def _takes_views(methods: dict[str, ast.FunctionDef]) -> bool:
    """Whether what is read as ``batch["img"]`` is then indexed by a number."""
    parse = methods.get("parse_batch_train")
    if parse is None:
        return False
    images = {
        target.id
        for part in ast.walk(parse)
        if isinstance(part, ast.Assign) and ast.unparse(part.value) == "batch['img']"
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    indexed = [part for part in ast.walk(parse) if isinstance(part, ast.Subscript)]
    return any(isinstance(part.value, ast.Name) and part.value.id in images for part in indexed)


def _not_installed(tree: ast.Module, root: Path) -> list[str]:
    """Top-level packages that a file imports at its top and Python does not find, the checkout's own aside."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    tops = dict.fromkeys(name.split(".")[0] for name in names)
    own = {path.stem for path in root.iterdir() if path.is_dir() or path.suffix == ".py"}
    return [top for top in tops if top not in own and find_spec(top) is None]
