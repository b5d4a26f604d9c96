"""DHO on somebody else's Dassl-style CLIP trainer, as it stands."""

from __future__ import annotations

from dho_prompt.config import declared
from dho_prompt.config.unknown import explain_unknown_keys
from dho_prompt.engine import ENGINE, TRAINER_REGISTRY, TrainerX
from dho_prompt.hosts.adapters import Adapter, adapter_for
from dho_prompt.hosts.host_trainer import HostTrainer
from dho_prompt.hosts.imports import refuse_two_checkouts
from dho_prompt.hosts.overridden import EngineTest, needs_engine_test, refuse_overridden
from dho_prompt.training.run import Run


def with_dho(host: type, adapter: Adapter | None = None, name: str | None = None) -> type:
    """A trainer class that is ``host`` with the DHO pathway: KD head, unlabelled images, teacher, mix at inference.

    With TRAINER.DHO.LAMBDA 1 and ALPHA 1 it trains and predicts exactly as ``host`` does.

    Args:
        host: a trainer class on Dassl's TrainerX: CoOp, CoCoOp, MaPLe, PromptSRC, IVLP, VPT or a relative.
        adapter: where the host keeps its model and image tower, if not in ``self.model.image_encoder``.
        name: what TRAINER.NAME selects it by; default the host's name followed by DHO. The host's own name puts the
            new class in its place, for code that compares TRAINER.NAME.

    Returns:
        The new class, registered.

    Raises:
        ValueError: ``host`` is no trainer of labelled batches on the engine in use, has DHO already, has a method of
            its own that DHO would be left out of, or the name is taken.

    Example: in the host's train.py, behind its imports, and in ``setup_cfg`` behind its own ``extend_cfg(cfg)``::

        from dho_prompt import extend_cfg as extend_cfg_dho, with_dho
        with_dho(trainers.coop.CoOp)  # --trainer CoOpDHO

        extend_cfg_dho(cfg)
    """
    if not (isinstance(host, type) and issubclass(host, TrainerX)):
        raise ValueError(
            f"with_dho takes a trainer class that extends TrainerX of the engine in use ({ENGINE}, "
            f"{TrainerX.__module__}), not {host!r}"
        )
    if issubclass(host, Run):
        raise ValueError(f"{host.__name__} has the DHO pathway already")
    explain_unknown_keys(declared)
    refuse_two_checkouts(host)
    adapter = adapter_for(host) if adapter is None else adapter
    refuse_overridden(host, adapter)
    name = f"{host.__name__}DHO" if name is None else name
    taken = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
    if taken not in (None, host):
        raise ValueError(
            f"a trainer named {name} is registered already ({taken.__module__}.{taken.__qualname__}); choose another "
            f'by with_dho({host.__name__}, name="...")'
        )
    members = {
        "__doc__": f"{host.__name__} with the DHO pathway (:func:`dho_prompt.hosts.with_dho.with_dho`).",
        "__module__": HostTrainer.__module__,
        "host": host,
        "adapter": adapter,
    }
    bases = (HostTrainer, EngineTest, host) if needs_engine_test(host, adapter) else (HostTrainer, host)
    plugged = type(name, bases, members)
    TRAINER_REGISTRY._do_register(name, plugged, force=taken is host)
    return plugged
