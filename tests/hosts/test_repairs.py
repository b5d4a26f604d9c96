"""What of a host's own is left alone while Dassl's functions are stood in for."""

from dho_prompt import engine
from dho_prompt.hosts.repairs import repaired


def test_only_dassls_own_functions_are_replaced():
    theirs = type("theirs", (), {"__module__": "dassl.utils"})
    own = type("own", (), {"__module__": "their.utils"})
    namespace = {"__name__": "their_trainers", "build_lr_scheduler": own, "load_pretrained_weights": theirs}
    exec("def build_model(self):\n    return build_lr_scheduler, load_pretrained_weights", namespace)
    host = type("Theirs", (object,), {"build_model": namespace["build_model"]})
    with repaired(host, "build_model"):
        assert host().build_model() == (own, engine.load_pretrained_weights)
    assert host().build_model() == (own, theirs)
