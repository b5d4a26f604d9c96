"""Keys of ours that a host's own merge, yacs's, does not find."""

import pytest
from yacs.config import CfgNode

from dho_prompt.config import declared, extend_cfg
from dho_prompt.config.unknown import explain_unknown_keys

explain_unknown_keys(declared)


def merges(cfg, tmp_path, key, value="0.3"):
    """Every way of a host to set a key."""
    node = value
    for name in reversed(key.split(".")):
        node = {name: node}
    (tmp_path / "c.yaml").write_text(str(node))
    yield lambda: cfg.merge_from_list([key, value])
    yield lambda: cfg.merge_from_file(str(tmp_path / "c.yaml"))
    yield lambda: cfg.merge_from_other_cfg(CfgNode(node))


@pytest.fixture
def host():
    return CfgNode({"TRAINER": {"NAME": ""}, "OPTIM": {"LR": 0.1}})


@pytest.mark.parametrize(
    ("key", "near"),
    [("TRAINER.DHO.LAMDA", "LAMBDA"), ("TRAINER.DHO.TEACHER.NAMES", "TEACHER.NAME"), ("TRAINER.DOH.ALPHA", "ALPHA")],
)
def test_a_wrong_key_names_the_nearest(host, tmp_path, key, near):
    words = rf"unknown configuration key {key.rsplit('.', 1)[0]}.*; did you mean TRAINER\.DHO\.{near}"
    for number, merge in enumerate(merges(extend_cfg(host), tmp_path, key)):
        if "DOH" in key and number:  # yacs names the node alone, which is nothing of ours
            with pytest.raises(KeyError, match=r"Non-existent config key: TRAINER\.DOH"):
                merge()
            continue
        with pytest.raises(ValueError, match=words):
            merge()


@pytest.mark.parametrize("key", ["TRAINER.DHO.LAMBDA", "TRAINER.DHO.LAMDA", "OPTIM.SCHEDULE_BY", "TEST.SHIFTED_SETS"])
def test_a_key_before_extend_cfg_says_what_to_call(host, tmp_path, key):
    for merge in merges(host, tmp_path, key):
        with pytest.raises(ValueError, match=r"has no \S+ yet: call dho_prompt\.extend_cfg\(cfg\) where") as found:
            merge()
        assert ("did you mean TRAINER.DHO.LAMBDA" in str(found.value)) <= ("LAMDA" in key)
    with pytest.raises(ValueError, match=r"has no TRAINER\.DHO\.LAMDA .*did you mean TRAINER\.DHO\.LAMBDA"):
        host.merge_from_list(["TRAINER.DHO.LAMDA", "0.3"])


def test_a_number_without_its_point_says_so(host, tmp_path):
    for merge in merges(extend_cfg(host), tmp_path, "TRAINER.DHO.LAMBDA", "1"):
        with pytest.raises(ValueError, match=r"config key: TRAINER.DHO.LAMBDA; write it with a point, such as 1.0$"):
            merge()
    for merge in merges(host, tmp_path, "TRAINER.DHO.LAMBDA", "half"):
        with pytest.raises(ValueError, match=r"config key: TRAINER.DHO.LAMBDA$"):
            merge()


def test_the_hosts_own_keys_keep_their_words(host, tmp_path):
    by_list, *others = merges(extend_cfg(host), tmp_path, "TRAINER.THEIRS.DEPTH", "3")
    with pytest.raises(AssertionError, match=r"^Non-existent key: TRAINER\.THEIRS\.DEPTH"):
        by_list()
    for merge in others:
        with pytest.raises(KeyError, match=r"Non-existent config key: TRAINER\.THEIRS"):
            merge()
    with pytest.raises(AssertionError, match="odd length"):
        host.merge_from_list(["OPTIM.LR"])


def test_what_fits_is_merged_and_nothing_is_wrapped_twice(host, tmp_path):
    before = CfgNode.merge_from_list
    explain_unknown_keys(declared)
    assert CfgNode.merge_from_list is before
    for number, merge in enumerate(merges(extend_cfg(host), tmp_path, "TRAINER.DHO.LAMBDA", 0.3)):
        host.TRAINER.DHO.LAMBDA = 0.9
        merge()
        assert host.TRAINER.DHO.LAMBDA == 0.3, number
