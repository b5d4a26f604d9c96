"""The list of runs: its form, what each run is, its name, its needs."""

import os

import pytest

from dho_prompt.compare.listed import Run, look_up, look_up_all, needs_of, read_list, set_names
from dho_prompt.train import main


def listed(*lines):
    return b"".join(os.fsencode(word) + b"\0" for line in lines for word in (str(len(line)), *map(str, line)))


def test_words_come_as_they_were():
    lines = [["train", "two words", "", "3", "new\nline"], ["report", "\udcff/x"], ["evaluate"]]
    assert read_list(listed(*lines)) == lines and read_list(b"") == []


@pytest.mark.parametrize("content", [b"1\0tra", b"2\0train\0", b"0\0", b"train\0", b"1\0train\0x\0", b"1\0train\0x"])
def test_a_list_of_another_form_is_refused(content):
    with pytest.raises(ValueError, match="list of runs"):
        read_list(content)


def run(folder, *words, seed=1):
    return Run("train", list(words), folder, "new", seed)


def named(*folders):
    runs = [run(folder) for folder in folders]
    set_names(runs)
    return [run.name for run in runs]


def test_a_name_is_what_tells_a_run_apart():
    assert named("out/d/CoOp/c/seed1", "out/d/CoOpDHO/c/seed2") == ["CoOp seed1", "CoOpDHO seed2"]
    assert named("out/d/CoOp/c/seed1") == ["CoOp c seed1"]
    assert named("out/a/b", "out/a/b/c") == ["out a b", "c"]


def test_a_run_waits_for_those_whose_folder_it_names(tmp_path):
    first, tenth, theirs = run("out/m/seed1"), run("out/m/seed10"), run("out/t/seed3")
    boosted = run("out/n/seed1", "TRAINER.COOP.BOOST", "./out/m/seed1")
    taught = run("out/o/seed3", "KEY", "('ViT-B/16','out/t/seed{seed}/x.pt')", seed=3)
    again = run("out/m/seed1", "OPTIM.LR", "1.0")
    other = run("out/n/seed10", "TRAINER.COOP.BOOST", "out/m/seed10/")
    runs = [boosted, other, taught, first, tenth, theirs, again]  # whatever their order
    needs = {run: needs_of(run, runs) for run in runs}
    assert needs[boosted] == [first, again] and needs[taught] == [theirs] and needs[again] == [first]
    assert needs[other] == [tenth]
    assert not needs[first] and not needs[tenth] and not needs[theirs]


def test_what_a_run_is_asked_and_what_its_folder_says(train_args, tmp_path):
    words = train_args("CoOp", "OPTIM.MAX_EPOCH", "1", "TORCH_THREADS", "3", "USE_CUDA", "False", seed=7)
    new = look_up("train", words)
    assert (new.state, new.seed, new.threads, new.cuda) == ("new", 7, 3, False)
    assert new.folder == str(tmp_path / "run") and not (tmp_path / "run").exists()
    main(words)
    assert look_up("train", words).state == "finished"
    evaluation = look_up("evaluate", [str(tmp_path / "run")])
    assert (evaluation.state, evaluation.folder) == ("new", str(tmp_path / "run"))
    (tmp_path / "run" / "results.json").unlink()
    assert look_up("train", words).state == "interrupted"
    with pytest.raises(ValueError, match="another configuration"):
        look_up("train", [*words, "OPTIM.LR", "0.5"])
    with pytest.raises(ValueError, match="names 'os'"):
        look_up("os", [])


def test_a_list_is_refused_as_a_whole_with_every_message_once(train_args, tmp_path):
    wrong = [["train", *train_args("CoOp", "OPTIM.LRR", "1", output=tmp_path / name)] for name in "ab"]
    other = ["train", *train_args("CoOp", "OPTIM.LR", "inf")]
    with pytest.raises(ValueError) as caught:
        look_up_all([*wrong, other, ["train", *train_args("CoOp")]])
    assert str(caught.value).count("OPTIM.LRR") == 1 and str(caught.value).count("OPTIM.LR in the command line") == 1


def test_what_is_listed_twice_is_run_once(train_args, tmp_path):
    lines = [["train", *train_args("CoOp", output=tmp_path / name)] for name in "aba"]
    assert [run.name for run in look_up_all(lines)] == ["a", "b"]
