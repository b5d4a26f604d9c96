"""Merging: order of precedence, coercion, and errors that name the nearest key."""

import pytest
from yacs.config import CfgNode

from dho_prompt.config import check_settings, differences, extend_cfg, merge_file, merge_opts, merge_plain, plain


@pytest.fixture
def cfg():
    base = CfgNode({"MODEL": {"BACKBONE": {"NAME": ""}}, "OPTIM": {"LR": 0.002, "MAX_EPOCH": 10}, "TEST": {}})
    base.INPUT = CfgNode({"SIZE": (224, 224), "TRANSFORMS": ()})
    return extend_cfg(base)


def test_keys_of_the_host_are_kept():
    host = CfgNode({"TRAINER": {"COOP": {"N_CTX": 4}}})
    extend_cfg(host)
    assert host.TRAINER.COOP.N_CTX == 4
    assert host.TRAINER.COOP.PREC == "fp16"
    assert host.TRAINER.DHO.LAMBDA == 0.5
    assert extend_cfg(host) is host


def test_file_then_opts(cfg, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text('OPTIM: {LR: 1e-2}\nTEST:\n  SHIFTED_SETS: ("A", "B")\n')
    merge_file(cfg, str(path))
    assert cfg.OPTIM.LR == 0.01 and cfg.TEST.SHIFTED_SETS == ("A", "B")
    path.write_text('OPTIM: {LR: 1}\nINPUT: {SIZE: [32, 32], TRANSFORMS: ["normalize"]}\nTRAINER: {DHO: {ALPHA: 0}}\n')
    merge_file(cfg, str(path))
    assert cfg.OPTIM.LR == 1.0 and isinstance(cfg.OPTIM.LR, float)
    assert cfg.INPUT.SIZE == (32, 32)
    assert cfg.TRAINER.DHO.ALPHA == 0.0
    merge_opts(
        cfg,
        ["OPTIM.LR", "0.1", "TRAINER.COOP.CTX_INIT", "a photo of a", "INPUT.SIZE", "(8, 8)", "OPTIM.MAX_EPOCH", "3"],
    )
    assert (cfg.OPTIM.LR, cfg.TRAINER.COOP.CTX_INIT, cfg.INPUT.SIZE, cfg.OPTIM.MAX_EPOCH) == (
        0.1,
        "a photo of a",
        (8, 8),
        3,
    )


def test_text_that_looks_like_a_number_stays_text(cfg):
    merge_opts(cfg, ["MODEL.BACKBONE.WEIGHTS", "2024"])
    assert cfg.MODEL.BACKBONE.WEIGHTS == "2024"


@pytest.mark.parametrize(
    "key, near",
    [
        ("TRAINER.DHO.APLHA", "TRAINER.DHO.ALPHA"),
        ("TRAINER.COOP.NCTX", "TRAINER.COOP.N_CTX"),
        ("MAX_EPOCH", "OPTIM.MAX_EPOCH"),
    ],
)
def test_unknown_keys_name_the_nearest(cfg, tmp_path, key, near):
    with pytest.raises(ValueError, match=f"unknown configuration key {key} in the command line.*{near}"):
        merge_opts(cfg, [key, "1"])
    *parents, leaf = key.split(".")
    path = tmp_path / "c.yaml"
    path.write_text(
        "".join("  " * depth + f"{name}:\n" for depth, name in enumerate(parents))
        + "  " * len(parents)
        + f"{leaf}: 1\n"
    )
    with pytest.raises(ValueError, match=f"unknown configuration key {key} in .*c.yaml.*{near}"):
        merge_file(cfg, str(path))


def test_a_switch_with_a_third_place_takes_true_and_false(cfg, tmp_path):
    for value, taken in (("True", "on"), ("False", "off"), ("auto", "auto"), ("on", "on")):
        merge_opts(cfg, ["TRAINER.DHO.SEARCH", value])
        assert taken == cfg.TRAINER.DHO.SEARCH
    (tmp_path / "c.yaml").write_text("TRAINER: {DHO: {SEARCH: true}}\n")
    merge_file(cfg, str(tmp_path / "c.yaml"))
    assert cfg.TRAINER.DHO.SEARCH == "on"
    merge_opts(cfg, ["TRAINER.DHO.SEARCH", "1"])
    with pytest.raises(ValueError, match="SEARCH is '1'; allowed are auto, on, off"):
        check_settings(cfg, "TRAINER.DHO")


def test_other_mistakes_are_named(cfg, tmp_path):
    with pytest.raises(ValueError, match="come in pairs"):
        merge_opts(cfg, ["OPTIM.LR"])
    with pytest.raises(ValueError, match="OPTIM.MAX_EPOCH in the command line is 1.5.*takes a int"):
        merge_opts(cfg, ["OPTIM.MAX_EPOCH", "1.5"])
    with pytest.raises(ValueError, match="SCALE_BY_TEMPERATURE.*takes a bool"):
        merge_opts(cfg, ["TRAINER.DHO.SCALE_BY_TEMPERATURE", "1"])
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        merge_file(cfg, str(tmp_path / "absent.yaml"))
    (tmp_path / "bad.yaml").write_text("OPTIM: [1, 2\n")
    with pytest.raises(ValueError, match="bad.yaml is not a readable YAML"):
        merge_file(cfg, str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    "key, value",
    [("OPTIM.LR", "1e999"), ("OPTIM.LR", "-1e999"), ("OPTIM.LR", "1" + "0" * 400), ("INPUT.SIZE", "(32, 1e999)")],
)
def test_numbers_that_no_record_can_hold_are_named(cfg, tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key} in the command line is .*inf.*; numbers must be finite"):
        merge_opts(cfg, [key, value])
    path = tmp_path / "c.yaml"
    path.write_text(f"{key}: {value}\n")
    with pytest.raises(ValueError, match=f"{key} in .*c.yaml is .*; numbers must be finite"):
        merge_file(cfg, str(path))
    assert cfg.OPTIM.LR == 0.002 and cfg.INPUT.SIZE == (224, 224)


def test_yamls_own_names_for_such_numbers(cfg, tmp_path):
    path = tmp_path / "c.yaml"
    for text in ("OPTIM: {LR: .inf}", "OPTIM: {LR: .nan}", "INPUT: {SIZE: [1, .nan]}"):
        path.write_text(text)
        with pytest.raises(ValueError, match="c.yaml is .*; numbers must be finite"):
            merge_file(cfg, str(path))
    with pytest.raises(ValueError, match="OPTIM.LR in the record is nan; numbers must be finite"):
        merge_plain(cfg, {"OPTIM": {"LR": float("nan")}}, "the record")


def test_a_file_that_python_would_run_is_refused(cfg, tmp_path):
    path = tmp_path / "c.py"
    path.write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\ncfg = {{'OPTIM': {{'LR': 1.0}}}}\n")
    with pytest.raises(ValueError, match=r"c\.py has another ending than \.yaml or \.yml"):
        merge_file(cfg, str(path))
    assert not (tmp_path / "marker").exists() and cfg.OPTIM.LR == 0.002


def test_a_group_is_no_setting(cfg, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("OPTIM:\n")
    with pytest.raises(ValueError, match="OPTIM in .*c.yaml is None, but it is a group of settings such as OPTIM."):
        merge_file(cfg, str(path))
    with pytest.raises(ValueError, match="values are texts, numbers"):
        merge_opts(cfg, ["INPUT.SIZE", "(1j, 2)"])


def test_differences_between_configs(cfg):
    before = plain(cfg)
    merge_opts(cfg, ["TRAINER.DHO.ALPHA", "0.3"])
    assert differences(before, plain(cfg)) == ["TRAINER.DHO.ALPHA: 0.5 -> 0.3"]
