"""Packed names come back as they were, whatever they are."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from dho_prompt.data.choose.image_names import pack_names, unpack_names

NAMES = st.lists(st.text("ab/.0é ", min_size=1, max_size=6), min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(NAMES, st.integers(0, 2)), max_size=12), st.booleans())
@example([("aa", 0), ("aaa", 0)], False)  # beginning and end would overlap
@example([("a.jpg", 1), ("a.jpg", 1)], False)
@example([("x/a", 0), ("x/a", 1), ("y/a", 0)], False)
def test_names_come_back(named, in_order):
    named = sorted(named) if in_order else named
    assert list(unpack_names(json.loads(json.dumps(pack_names(named))))) == named


def test_a_folder_is_one_short_group():
    named = [(f"train/n01/n01_{number}.JPEG", 4) for number in (10026, 10029, 7)]
    assert pack_names(named) == [["train/n01/n01_", ".JPEG", 4, "10026/10029/7"]]
    assert pack_names(named[:1]) == [["train/n01/n01_10026.JPEG", "", 4, ""]]
    assert len(pack_names([*named, ("train/n02/a.JPEG", 4), ("train/n02/b.JPEG", 5)])) == 3
