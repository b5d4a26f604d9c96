"""Which classes of two data sets are the same: by ids, by folders, by names, and when it cannot be told."""

from types import SimpleNamespace

import pytest
import torch

from dho_prompt.data.classes import Classes, UnknownClasses, classes_of, find_rows, gather_rows, in_order

NAMES = ["tench", "missile", "projectile", "missile", "sunglasses"]
WNIDS = ["n01440764", "n03773504", "n04008634", "n04008635", "n04356056"]
HEAD = Classes(NAMES, WNIDS)


def dataset(folders, **more):
    items = [SimpleNamespace(impath=f"/data/{name}/{n}.jpg", label=i) for i, name in enumerate(folders) for n in "ab"]
    return SimpleNamespace(train_x=items[::2], test=items[1::2], **more)


def test_the_data_sets_own_ids_come_first_then_its_folders():
    assert classes_of(dataset(WNIDS, class_ids=["a", "b", "c", "d", "e"]), NAMES).ids == ["a", "b", "c", "d", "e"]
    assert classes_of(dataset(WNIDS), NAMES) == HEAD
    for folders in (list("01234"), ["images"] * 5, ["a", "b", "c", "d", "d"]):
        assert classes_of(dataset(folders), NAMES) == Classes(NAMES, None)
    mixed = dataset(WNIDS)
    mixed.test[0].impath = "/data/n09999999/a.jpg"  # a class in two folders
    assert classes_of(mixed, NAMES).ids is None
    assert classes_of(dataset(WNIDS[:4]), NAMES).ids is None  # a class without an image
    for wrong in (["a"], ["a"] * 5):
        with pytest.raises(ValueError, match="class_ids has .* for 5 classes"):
            classes_of(dataset(WNIDS, class_ids=wrong), NAMES)


def test_classes_meet_by_wnid_even_where_names_repeat():
    assert find_rows(Classes(["missile", "tench"], [WNIDS[3], WNIDS[0]]), HEAD, "head") == [3, 0]
    # wnids decide alone: the one missile is not the other
    with pytest.raises(UnknownClasses, match=r"head was trained on 5 classes \(n01440764 \(tench\).*1 of the 2 .*n09"):
        find_rows(Classes(["tench", "sunglasses"], [WNIDS[0], "n09999999"]), HEAD, "head")


def test_where_ids_do_not_say_equal_lists_or_unique_names_do():
    assert find_rows(Classes(NAMES), HEAD, "head") == [0, 1, 2, 3, 4]  # ImageNet-V2 in a host
    assert find_rows(Classes(["sunglasses", "tench"]), HEAD, "head") == [4, 0]
    assert find_rows(HEAD, Classes(NAMES), "old head") == [0, 1, 2, 3, 4]
    assert find_rows(Classes(["sushi", "pie"], ["sushi", "apple_pie"]), Classes(["pie", "sushi"]), "head") == [1, 0]
    for unclear in (Classes(["missile"]), Classes(["tench", "tench"]), Classes(NAMES[::-1]), Classes(["tench", "cat"])):
        with pytest.raises(UnknownClasses, match="not by a name of their own"):
            find_rows(unclear, HEAD, "head")
    # folders and names that contradict each other
    with pytest.raises(UnknownClasses):
        find_rows(Classes(["a", "b"], ["B", "other"]), Classes(["a", "b"], ["A", "B"]), "head")


def test_base_and_new_halves_do_not_meet():
    base, new = Classes(NAMES[:1] + ["cat"], WNIDS[:1] + ["n00000001"]), Classes(NAMES[1:3], WNIDS[1:3])
    for tested, trained in ((new, base), (base, new), (HEAD, base), (Classes(["b"]), Classes(["a"]))):
        with pytest.raises(UnknownClasses):
            find_rows(tested, trained, "head")


def test_rows_are_gathered_where_there_is_one_for_each_class():
    saved = {"weight": torch.arange(10.0).reshape(5, 2), "bias": torch.arange(5.0), "zeta": torch.tensor(1.0),
             "shared": torch.zeros(5, 3)}  # fmt: skip
    own = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "zeta": torch.tensor(0.0), "shared": torch.zeros(5, 3)}
    found = gather_rows(saved, own, [3, 0], 5)
    assert found["weight"].tolist() == [[6, 7], [0, 1]] and found["bias"].tolist() == [3, 0]
    assert found["zeta"] == 1 and found["shared"].shape == (5, 3)
    assert in_order([0, 1], 2) and not in_order([1, 0], 2) and not in_order([0, 1], 3)
