"""What of a host's own is left alone while Dassl's functions are stood in for."""

import sys
from types import ModuleType

from dho_prompt import engine
from dho_prompt.hosts.repairs import repair, repaired


def test_only_dassls_own_functions_are_replaced():
    theirs = type("theirs", (), {"__module__": "dassl.utils"})
    own = type("own", (), {"__module__": "their.utils"})
    namespace = {"__name__": "their_trainers", "build_lr_scheduler": own, "load_pretrained_weights": theirs}
    exec("def build_model(self):\n    return build_lr_scheduler, load_pretrained_weights", namespace)
    host = type("Theirs", (object,), {"build_model": namespace["build_model"]})
    with repaired(host, "build_model"):
        assert host().build_model() == (own, engine.load_pretrained_weights)
    assert host().build_model() == (own, theirs)


def test_repair_replaces_dassls_functions_for_good_wherever_they_were_imported(monkeypatch, capsys):
    theirs = type("build_lr_scheduler", (), {"__module__": "dassl.optim.lr_scheduler"})
    own = type("load_checkpoint", (), {"__module__": "their.utils"})
    module = ModuleType("their_trainer")
    module.build_lr_scheduler, module.load_checkpoint = theirs, own
    monkeypatch.setitem(sys.modules, "their_trainer", module)
    monkeypatch.setattr("dho_prompt.hosts.repairs.sys", type("sys", (), {"modules": {"their_trainer": module}}))
    assert repair() == ["their_trainer.build_lr_scheduler"]
    assert module.build_lr_scheduler is engine.build_lr_scheduler and module.load_checkpoint is own
    assert "stands in for build_lr_scheduler of Dassl's" in capsys.readouterr().out
    assert repair() == [] and capsys.readouterr().out == ""
