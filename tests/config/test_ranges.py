"""Every key has a range, and nothing outside it gets past the start of a run."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import zeros
from torch.nn import Parameter

from dho_prompt.config import Setting, check_settings, extend_cfg, known_keys, merge_file, merge_opts, ranges
from dho_prompt.config.ranges import SWITCH, Choice, Items, Number, Range, Text, Whole, as_range
from dho_prompt.data.batches.pair import COUNTS
from dho_prompt.data.datasets.base import HALVES
from dho_prompt.engine import build_optimizer, get_cfg_default

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KEYS = sorted(known_keys(extend_cfg(get_cfg_default())))
# What nothing here reads: nodes of Dassl's own trainers and networks
UNREAD = (
    *("VERSION", "MODEL.HEAD"),
    *("TRAINER.MCD", "TRAINER.MME", "TRAINER.CDAC", "TRAINER.SE", "TRAINER.M3SDA", "TRAINER.DAEL", "TRAINER.DAELDG"),
    *("TRAINER.CROSSGRAD", "TRAINER.DDAIG", "TRAINER.DOMAINMIX", "TRAINER.ENTMIN", "TRAINER.MEANTEACHER"),
    *("TRAINER.MIXMATCH", "TRAINER.FIXMATCH"),
)
READ = [key for key in KEYS if not f"{key}.".startswith(tuple(f"{node}." for node in UNREAD))]


def fresh():
    return extend_cfg(get_cfg_default())


def node_of(cfg, key):
    *parents, leaf = key.split(".")
    for name in parents:
        cfg = cfg[name]
    return cfg, leaf


def value_of(cfg, key):
    node, leaf = node_of(cfg, key)
    return node[leaf]


# Ranges by themselves


@pytest.mark.parametrize(
    "allowed, inside, outside, words",
    [
        (SWITCH, [True, False], [1, 0, "True", None], "it takes True or False"),
        (Choice(("a", "")), ["a", ""], ["b", ("a",), 0], "allowed are a, ''"),
        (Whole(1, 9), [1, 9], [0, 10, 1.0, True, "1", -(10**30)], "it takes a whole number from 1 to 9"),
        (Whole(1, 9, -1, "all"), [-1, 1], [0, -2], "it takes -1 (all) or a whole number from 1 to 9"),
        (Number(0, 1, open_most=True), [0, 0.5, 0.0], [1, 1.0, -1e-9, "0"], "a number of at least 0 and below 1"),
        (Number(0, 100, open_least=True), [1e-300, 100], [0, 0.0, 100.1, True], "a number above 0 and at most 100"),
        (Number(0), [0, 10**400], [float("inf"), float("nan"), -float("inf")], "a number of at least 0"),
        (Number(1, special=0, meaning="off"), [0, 0.0, 1], [0.5], "0 (off) or a number of at least 1"),
        (Text(1, 3), ["a", "äöü"], ["", "abcd", "a\nb", "\0", "\udc80", 1], "a line of text (1 to 3 characters)"),
        (Text(0, 9, True), ["a {}."], ["a", "{} {}", "{0}", "{", "{}}"], "text with {} exactly once"),
        (Items(Whole(1, 9), 2, 2, "equal"), [(3, 3), [3, 3]], [(3, 4), (3,), 3, "33"], "2 equal values, each a whole"),
        (Items(Number(0, 1), 2, 2, "rising"), [(0, 1), (0.5, 0.5)], [(1, 0.5), (0, 2)], "2 values that do not fall"),
        (
            Items(Text(1), 0, 2, "distinct"),
            [(), ("a", "b")],
            [("a", "a"), ("",), ("a", "b", "c"), ([],)],
            "0 to 2 diff",
        ),
        (Items(Text(1), 1, 2, empty="none"), [(), ["a"]], [("a", 0)], "() (none) or 1 to 2 values"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Range) else "",
)
def test_what_a_range_takes_and_says(allowed, inside, outside, words):
    assert [value for value in inside if value not in allowed] == []
    assert [value for value in outside if value in allowed] == []
    assert words in allowed.rule


def test_a_setting_without_a_range_takes_its_type_and_a_tuple_is_a_choice():
    assert as_range(Setting(3, "").allowed, 3) is None
    assert as_range(Setting(True, "").allowed, True) is SWITCH
    assert as_range(("a", "b")) == Choice(("a", "b"))


# Every key


def test_every_key_that_is_read_here_has_a_range():
    known = ranges()
    assert [key for key in READ if key not in known] == []
    assert [key for key in known if key not in READ] == []  # none is misspelt
    check_settings(fresh())  # every default lies in its range


def test_the_tables_agree_with_the_code_that_reads_them():
    known = ranges()
    assert set(known["TRAIN.COUNT_ITER"].names) == set(COUNTS)
    assert set(known["DATASET.SUBSAMPLE_CLASSES"].names) == set(HALVES)
    for name in known["OPTIM.NAME"].names:
        optim = get_cfg_default().OPTIM
        optim.NAME = name
        assert build_optimizer([Parameter(zeros(1))], optim)
    optim.NAME = "absent"
    with pytest.raises(ValueError, match=", ".join(sorted(known["OPTIM.NAME"].names))):
        build_optimizer([Parameter(zeros(1))], optim)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_recipe_lies_in_the_ranges(path):
    cfg = fresh()
    merge_file(cfg, str(path))
    check_settings(cfg)


_SCALARS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 1, 2, 10**9, -(10**9), 2**32, 10**30]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 1e-300, -1e-300, 1e300, 0.5, 2.0]),
    st.text(max_size=8),
    st.sampled_from(["", "{}", "a {} b", "{} {}", "True", "(1,", "nan", "1e999", "sgd", "val", "a" * 5000]),
    st.booleans(),
    st.none(),
)
VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=4), st.lists(_SCALARS, max_size=4).map(tuple))
WALK = settings(max_examples=25, derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize("key", KEYS)
def test_any_value_is_refused_by_name_or_lies_in_its_range(key):
    cfg, allowed = fresh(), ranges().get(key)
    node, leaf = node_of(cfg, key)
    default = node[leaf]

    @WALK
    @example(value=(), as_text=True)
    @example(value=[[]], as_text=False)
    @example(value=10**9, as_text=True)
    @example(value=-(10**9), as_text=True)
    @given(value=VALUES, as_text=st.booleans())
    def walk(value, as_text):
        node[leaf] = default
        try:
            merge_opts(cfg, [key, str(value) if as_text else value])
            check_settings(cfg)
        except ValueError as error:
            assert key in str(error)
        else:
            assert allowed is None or node[leaf] in allowed

    walk()


def inside(allowed, default):
    """Values of a range that suit the default's type."""
    if allowed is SWITCH:
        return st.booleans()
    if isinstance(allowed, Choice):
        return st.sampled_from(allowed.names)
    if isinstance(allowed, Whole):
        drawn = st.integers(allowed.least, allowed.most)
        return drawn if allowed.special is None else drawn | st.just(allowed.special)
    if isinstance(allowed, Number):
        if isinstance(default, int):
            return st.integers(0 if allowed.least == 0 else int(allowed.least) + 1, int(min(allowed.most, 1e30)))
        drawn = st.floats(allowed.least, min(allowed.most, 1e30))
        ends = {allowed.least: allowed.open_least, allowed.most: allowed.open_most}
        return drawn.filter(lambda value: not ends.get(value, False))
    if isinstance(allowed, Text):
        return st.just("a {}.") if allowed.template else st.text("abc/. ", min_size=max(allowed.least, 1), max_size=9)
    values = st.lists(inside(allowed.each, 1.0), min_size=allowed.least, max_size=min(allowed.most, 4), unique=True)
    if allowed.order == "equal":
        return values.map(lambda drawn: tuple(drawn[:1] * len(drawn)))
    return values.map(lambda drawn: tuple(sorted(drawn) if allowed.order == "rising" else drawn))


@pytest.mark.parametrize("key", READ)
def test_a_value_in_its_range_is_taken(key):
    cfg, allowed = fresh(), ranges()[key]
    node, leaf = node_of(cfg, key)
    default = node[leaf]

    @WALK
    @given(value=inside(allowed, default))
    def walk(value):
        node[leaf] = default
        merge_opts(cfg, [key, value])
        check_settings(cfg)
        assert node[leaf] == value or list(node[leaf]) == list(value)

    walk()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("OPTIM.MOMENTUM", "2.0", "OPTIM.MOMENTUM is 2.0; it takes a number of at least 0 and below 1"),
        ("DATASET.NUM_SHOTS", "0", "DATASET.NUM_SHOTS is 0; it takes -1 (all images) or a whole number from 1 to"),
        ("TORCH_THREADS", "-1", "TORCH_THREADS is -1; it takes 0 (PyTorch's own choice) or a whole number from 1 to"),
        ("TEST.SHIFTED_SETS", "('A', 'A')", "TEST.SHIFTED_SETS is ('A', 'A'); it takes 0 to 100 different values"),
        ("INPUT.RRCROP_SCALE", "(1.0, 0.5)", "it takes 2 values that do not fall, each a number above 0 and at most 1"),
        ("TEST.FINAL_MODEL", "best", "TEST.FINAL_MODEL is 'best'; allowed are last_step, best_val"),
        (
            "TRAINER.DHO.TEACHER.TEMPLATES",
            "('{} {}',)",
            "() (those of the data set) or 1 to 1000 values, each a line of",
        ),
        ("TRAINER.COOP.CTX_INIT", "x" * 5000, "xxx...; it takes a line of text (0 to 4096 characters)"),
    ],
)
def test_the_message_names_key_value_and_range(key, value, message):
    cfg = fresh()
    with pytest.raises(ValueError) as caught:
        merge_opts(cfg, [key, value])
        check_settings(cfg)
    text = str(caught.value)
    assert text.startswith(f"{key} is ") and len(text) < 500
    assert message in text


def test_nodes_choose_what_is_looked_at():
    cfg = fresh()
    cfg.DATASET.NUM_SHOTS, cfg.OPTIM.MOMENTUM = 0, 2.0
    check_settings(cfg, "TRAINER.DHO", "DATASET.NUM", "OPTIM.MOMENT")
    for node, key in (("DATASET", "NUM_SHOTS"), ("OPTIM.MOMENTUM", "MOMENTUM")):
        with pytest.raises(ValueError, match=key):
            check_settings(cfg, node)
