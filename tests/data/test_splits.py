"""The labelled draw depends on seed and names alone; its record notices changed data."""

import hashlib
import random
from types import SimpleNamespace

import pytest

from dho_prompt.data.choose.splits import (
    few_shot,
    keep_split,
    labelled_images,
    read_record,
    relative_name,
    split_record,
)
from dho_prompt.files import write_json


def items(root="/data/x", classes=4, each=9):
    return [
        SimpleNamespace(impath=f"{root}/c{label}/{number:03d}.jpg", label=label)
        for label in range(classes)
        for number in range(each)
    ]


def names(drawn, root="/data/x"):
    return [relative_name(item.impath, root) for item in drawn]


def test_the_right_number_per_class():
    drawn = few_shot(items(), 3, seed=1, root="/data/x")
    assert [item.label for item in drawn] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert len(set(names(drawn))) == 12
    assert len(few_shot(items(each=2), 3, seed=1, root="/data/x")) == 8
    assert few_shot(items(), 0, 1, "/data/x") == few_shot(items(), -1, 1, "/data/x") == items()


def test_same_on_another_machine_in_another_order_and_after_other_draws():
    here = few_shot(items(), 3, seed=1, root="/data/x")
    elsewhere = items(root="/mnt/other")
    random.Random(0).shuffle(elsewhere)
    random.random()
    assert names(here) == names(few_shot(elsewhere, 3, 1, "/mnt/other"), "/mnt/other")


def test_a_fixed_draw_never_changes():
    drawn = names(few_shot(items(classes=1), 3, seed=7, root="/data/x"))
    assert drawn == ["c0/003.jpg", "c0/007.jpg", "c0/008.jpg"]


def test_seeds_differ_and_fewer_shots_are_contained():
    one, four = (set(names(few_shot(items(), shots, 2, "/data/x"))) for shots in (1, 4))
    assert one < four
    assert four != set(names(few_shot(items(), 4, 3, "/data/x")))


def test_record_hash_ignores_order_and_place_but_not_content():
    labelled, pool = items()[:5], items()
    record = split_record(labelled, pool, "/data/x")
    moved = [SimpleNamespace(impath=item.impath.replace("/data/x", "/e"), label=item.label) for item in pool]
    assert split_record(moved[:5][::-1], moved[::-1], "/e") == record
    assert record["unlabelled"] == 36 and record["labelled"] == 5
    assert labelled_images(record)[0] == ("c0/000.jpg", 0)
    relabelled = [SimpleNamespace(impath=item.impath, label=item.label + 1) for item in labelled]
    assert split_record(relabelled, pool, "/data/x")["hash"] != record["hash"]
    assert split_record(relabelled, pool, "/data/x")["unlabelled_hash"] == record["unlabelled_hash"]
    assert split_record(labelled, pool[:-1], "/data/x")["hash"] != record["hash"]


def test_changed_data_stop_a_resumed_run(tmp_path):
    path = tmp_path / "split.json"
    record = split_record(items()[:5], items(), "/data/x")
    assert keep_split(path, record) == keep_split(path, record) == record["hash"]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="images changed since this run began.*4 and 36"):
        keep_split(path, split_record(items()[:4], items(), "/data/x"))
    assert path.read_bytes() == before


def test_hashes_are_those_of_the_sorted_lines():
    labelled, pool = [SimpleNamespace(impath=f"/d/{n}.jpg", label=n % 7) for n in range(5000)], items()
    record = split_record(labelled, pool, "/d")
    lines = "".join(f"{name}\t{label}\n" for name, label in sorted((f"{n}.jpg", n % 7) for n in range(5000)))
    whole = hashlib.sha256(lines.encode()).hexdigest()
    others = hashlib.sha256("".join(f"{item.impath}\n" for item in pool).encode()).hexdigest()
    assert record["labelled_hash"] == whole[:16] and record["unlabelled_hash"] == others[:16]
    assert record["hash"] == hashlib.sha256(f"{whole}\n{others}\n".encode()).hexdigest()[:16]


def test_a_record_of_an_older_version_is_read_and_compared(tmp_path):
    record = split_record(items()[:5], items(), "/data/x")
    older = {name: value for name, value in record.items() if name != "images"}
    older["labelled"] = [list(entry) for entry in labelled_images(record)]
    write_json(tmp_path / "split.json", older)
    assert read_record(tmp_path / "split.json") == record
    assert keep_split(tmp_path / "split.json", record) == record["hash"]
    with pytest.raises(ValueError, match="images changed since this run began.* with 5 labelled.* with 4 and 36"):
        keep_split(tmp_path / "split.json", split_record(items()[:4], items(), "/data/x"))


def test_a_class_gives_the_first_of_its_hashes_whatever_the_order():
    every = items()
    ranked = sorted(every, key=lambda item: hashlib.sha256(f"3/{item.impath[len('/data/x/') :]}".encode()).digest())
    for shots in (1, 5, 99):
        drawn = few_shot(every[::-1], shots, 3, "/data/x")
        for label in {item.label for item in every}:
            wanted = [item.impath for item in ranked if item.label == label][:shots]
            assert [item.impath for item in drawn if item.label == label] == sorted(wanted)
