"""Every shape of picture: nothing off the canvas, nothing on something else, nothing cut off, and the right spread."""

import statistics
import warnings

import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dho_prompt.tables.curves import draw_shots, figure_over_shots, has_shots
from dho_prompt.tables.figure import draw, figure_of
from dho_prompt.tables.look import HUES, looks
from dho_prompt.tables.sheet import Sheet, save, wrapped
from dho_prompt.tables.table import tables
from made_results import result, three_rows, with_config
from picture_faults import faults, spread_lines

ONE = {"test": 70.0}
LONG = "SemiSupervisedMultimodalPromptTuningWithConsistency"
LONG_SETS = {
    "test": 70.0,
    "package.data:HandwrittenHistoricalManuscriptsOfTheEleventhCentury": 40.0,
    "WWWWWWWWWWWWWWWWWWWWWWWW": 50.0,
    "AnotherSetOfPicturesWithAVeryLongName" * 3: 30.0,
}
HOSTS = ("CoOp", "LinearProbe", "PromptSRC", "VPT")


def own(runs, folder="photos"):
    return [with_config({**run, "dataset": "ImageFolder"}, NAME="ImageFolder", FOLDER=folder) for run in runs]


def plain(runs):
    return [run for run in runs if not run["trainer"].endswith("DHO")]


def on_validation(runs):
    renamed = ("accuracy", "ece", "classes")
    return [{**run, **{key: {"val": run[key]["test"]} for key in renamed}} for run in runs]


def extreme():
    """Accuracies at both ends, no gain at all, no spread at all, a loss."""
    runs = []
    for seed in (1, 2, 3):
        runs += [
            result("CoOp", seed, {"test": 100.0, "V2": 0.0, "A": 99.0 - seed}),
            result("CoOpDHO", seed, {"test": 100.0, "V2": 0.0, "A": 40.0}),
        ]
    return runs


def imagenet():
    sets = {"test": 72.5, "ImageNetV2": 65.2, "ImageNetSketch": 49.0, "ImageNetR": 76.2, "ImageNetA": 51.7}
    runs = three_rows("CoOp", sets=sets, shots=16, dataset="ImageNet", backbone="ViT-B/16", epochs=50)
    for run in runs:
        run["classes"] = {name: dict.fromkeys(("own", "scored"), 200 if name[-1] in "RA" else 1000) for name in sets}
        if "teacher" in run:
            run["teacher"] = {"name": "ViT-L/14@336px"}
    return runs


def over_shots(host, **more):
    return [run for shots in (1, 2, 4, 16) for run in three_rows(host, shots=shots, gain=8 / shots, **more)]


SHAPES = {
    "one set, three seeds": lambda: own(three_rows("CoOp", sets=ONE)),
    "one set, one seed": lambda: own(three_rows("CoOp", seeds=(1,), sets=ONE)),
    "one set, plain method": lambda: own(plain(three_rows("CoOp", sets=ONE))),
    "one set, four methods": lambda: [run for host in HOSTS for run in own(three_rows(host, sets=ONE))],
    "two sets": lambda: three_rows("CoOp", sets={"test": 70.0, "V2": 20.0}),
    "five sets, three seeds": lambda: three_rows("CoOp"),
    "five sets, one seed": lambda: three_rows("CoOp", seeds=(1,)),
    "five sets, plain method": lambda: plain(three_rows("CoOp")),
    "two methods": lambda: three_rows("CoOp") + three_rows("PromptSRC", gain=-2.0),
    "four methods": lambda: [run for host in HOSTS for run in three_rows(host)],
    "seven methods": lambda: [run for letter in "ABCDEFG" for run in three_rows(f"{letter}Net", sets=ONE)],
    "twelve seeds": lambda: three_rows("CoOp", seeds=range(12)),
    "long names": lambda: own(
        three_rows(LONG, sets=LONG_SETS), "/data/a_$_folder_with_a_very_long_name_" + "and_on" * 20
    ),
    "long names, plain method": lambda: own(plain(three_rows(LONG, sets=LONG_SETS)), "x" * 150),
    "long names, four methods": lambda: [run for host in HOSTS for run in three_rows(host + LONG, sets=LONG_SETS)],
    "three numbers of shots": lambda: [run for shots in (1, 4, 16) for run in three_rows("CoOp", shots=shots)],
    "with and without gains": lambda: own(three_rows("CoOp", sets=ONE)) + plain(three_rows("CoOp")),
    "two data sets": lambda: three_rows("CoOp", sets=ONE) + own(three_rows("VPT", gain=40.0)),
    "validation": lambda: on_validation(three_rows("CoOp")),
    "extreme": extreme,
    "the paper's figures": imagenet,
}
CURVES = {
    "one set, three seeds": lambda: own(over_shots("CoOp", sets=ONE)),
    "one set, one seed": lambda: own(over_shots("CoOp", sets=ONE, seeds=(1,))),
    "two sets": lambda: over_shots("CoOp", sets={"test": 70.0, "V2": 60.0}),
    "five sets, three seeds": lambda: over_shots("CoOp"),
    "plain method": lambda: plain(over_shots("CoOp")),
    "four methods": lambda: [run for host in HOSTS for run in over_shots(host)],
    "long names": lambda: own(over_shots(LONG, sets=LONG_SETS), "/data/" + "folder" * 30),
    "long names, one set": lambda: own(over_shots(LONG, sets=ONE), "/data/" + "folder" * 30),
    "two data sets": lambda: over_shots("CoOp") + own(over_shots("CoOp", sets=ONE)),
    "validation": lambda: on_validation(over_shots("CoOp")),
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning of matplotlib's
        yield


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_of_test_sets(shape):
    figure = figure_of(tables(SHAPES[shape]()))
    assert faults(figure) == []
    assert figure.get_figwidth() <= 9


@pytest.mark.parametrize("shape", ("one set, three seeds", "five sets, three seeds", "extreme"))
def test_pictures_of_calibration_errors(shape):
    figure = figure_of(tables(SHAPES[shape](), "ece"))
    assert faults(figure) == []
    labels = [panel.get_xlabel() for panel in figure.axes]
    assert labels == ["change of ECE from the plain method (below 0 is better)", "ECE (%, 15 bins, lower is better)"]


@pytest.mark.parametrize("shape", CURVES)
def test_pictures_over_shots(shape):
    made = tables(CURVES[shape]())
    assert has_shots(made)
    assert faults(figure_over_shots(made), dots_apart=False) == []


def test_the_measuring_finds_what_is_wrong():
    def drawn(title="", label="", points=((0, 0), (3, 3)), width=4):
        figure = Figure(figsize=(width, 3))
        FigureCanvasAgg(figure)
        panel = figure.add_axes((0.15, 0.3, 0.8, 0.6))
        panel.set_title(title)
        panel.plot(*zip(*points), "o")
        if label:
            panel.plot([1], [1], label=label)
            figure.legend(loc="lower center", ncols=3)
        return figure, panel

    assert faults(drawn("a title", "a method", ((1, 1),))[0]) == []
    assert any("off the canvas: 'long" in fault for fault in faults(drawn("long " * 30)[0]))
    assert any("off the canvas: the legend" in fault for fault in faults(drawn(label="a method " * 10)[0]))
    figure, panel = drawn()
    panel.set_xlim(0.5, 5)
    assert any("cut off" in fault for fault in faults(figure))
    figure, panel = drawn(points=((1, 1),))
    panel.plot([1], [1.1], "s")
    panel.set_ylim(0, 10)
    assert "markers on each other" in faults(figure)
    figure, panel = drawn()
    figure.text(0.5, 0.5, "inside")
    assert "on a panel: 'inside'" in faults(figure)
    figure, panel = drawn()
    panel.set_xticks([1, 1.01], ["one tick", "another"])
    assert any("on each other: 'one tick' and 'another'" in fault for fault in faults(figure))
    figure, panel = drawn(width=1)
    assert any("a panel of" in fault for fault in faults(figure))


def of_gains(runs):
    figure = figure_of(tables(runs))
    figure.canvas.draw()
    return figure, figure.axes[0]


def test_gains_stand_first_with_zero_mean_spread_and_single_seeds():
    runs = [result("CoOp", seed, {"test": 60.0 + seed}) for seed in (1, 2, 4)]
    runs += [result("CoOpDHO", seed, {"test": 60.0 + 3 * seed}) for seed in (1, 2, 4)]
    figure, panel = of_gains(runs)
    assert panel.get_xlabel() == "gain in accuracy over the plain method (points)"
    gains = [2.0, 4.0, 8.0]
    marks = {line.get_marker(): list(line.get_xdata()) for line in panel.lines}
    assert marks["o"] == [pytest.approx(statistics.mean(gains))] and sorted(marks["."]) == gains
    (spread,) = [line for line in spread_lines(figure) if line in panel.lines]
    middle, around = statistics.mean(gains), statistics.stdev(gains)
    assert list(spread.get_xdata()) == pytest.approx([middle - around, middle + around])
    assert [list(line.get_xdata()) for line in panel.lines].count([0, 0]) == 1, "the zero line"
    assert figure.axes[1].get_xlabel() == "accuracy (%)"


def test_zero_is_seen_although_all_gains_are_far_from_it():
    runs = [result("CoOp", seed, ONE) for seed in (1, 2)] + [result("CoOpDHO", seed, {"test": 95.0}) for seed in (1, 2)]
    low, high = of_gains(runs)[1].get_xlim()
    assert low < 0 and high > 25


def test_one_seed_has_no_lines_of_spread_and_says_so():
    for figure in (
        figure_of(tables(three_rows("CoOp", seeds=(1,)))),
        figure_over_shots(tables(over_shots("CoOp", seeds=(1,)))),
    ):
        assert not spread_lines(figure)
        assert figure.legends[0].get_title().get_text() == "One seed, so no spread is known."
    assert len(spread_lines(figure_of(tables(three_rows("CoOp"))))) == 6 * (2 + 3)


def test_titles_say_data_set_labelled_images_and_seeds():
    def titles(runs):
        return [text.get_text() for text in figure_of(tables(runs)).texts]

    assert titles(own(three_rows("CoOp", sets=ONE), "/data/photos/")) == ["photos, 4 shots, seeds 1 2 3"]
    assert titles(three_rows("CoOp", seeds=(0,))) == ["Digits, 4 shots, seed 0"]
    assert titles(three_rows("CoOp", seeds=range(12))) == ["Digits, 4 shots, 12 seeds"]
    assert titles(three_rows("CoOp")[:-1]) == ["Digits, 4 shots, seeds 1 2 3 (not all of each)"]


def test_accuracies_and_the_papers_figures():
    (table,) = tables(imagenet())
    figure = figure_of([table])
    strokes = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() == "|"]
    assert len(strokes) == 3 * 6 and {71.5, 72.8, 73.4} <= set(strokes)
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "the paper's figure"
    low, high = figure_of(tables(extreme())).axes[1].get_xlim()
    assert -6 < low < 0 and 100 < high < 106, "percentages"


def test_methods_look_different():
    methods = [f"{letter}Net{end}" for letter in "ABCDEFGH" for end in ("", "DHO", "DHO, labeled only")]
    made = tables([run for letter in "ABCDEFGH" for run in three_rows(f"{letter}Net", sets=ONE)])
    found = looks(made)
    assert sorted(found) == sorted(methods) and len(set(found.values())) == len(methods) > 3 * len(HUES)


def test_objectives_look_different():
    """The host with the most of them has a hue for each; those of others are told from their host by markers."""

    def of(host, objectives):
        runs = three_rows(host, sets=ONE)
        for objective in objectives:
            runs += [result(f"{host}DHO", 1, ONE, objective=objective, pool=pool) for pool in (800, 0)]
        return runs

    many = ("kd", "kd_feature", "ce_kd_feature", "ce_kd", "sskd", "dhkd")
    made = of("CoOp", ("ce_kd",)) + of("VPT", ("ce_kd",)) + of("Finetune", many) + of("PromptSRC", ())
    found = looks(tables(made))
    assert len(found) == 4 * 3 + 2 * 8 and len(set(found.values())) == len(found)
    full = {name: look for name, look in found.items() if name.startswith("Finetune") and "only" not in name}
    assert len({look.colour for look in full.values()}) == len(many) + 1  # plain and with DHO have one
    assert found["CoOp, CE+KD (logit)"].marker == found["Finetune, CE+KD (logit)"].marker
    assert found["CoOp, CE+KD (logit)"].colour != found["VPT, CE+KD (logit)"].colour


def test_text_is_cut_into_lines_that_fit_and_no_formula():
    assert wrapped("short", 2, 8) == "short"
    lines = wrapped("W" * 60, 1.5, 8).split("\n")
    assert len(lines) > 2 and "".join(lines) == "W" * 60
    assert wrapped("a $x$ b", 5, 8) == r"a \$x\$ b"


def test_files(tmp_path):
    made = tables(over_shots("CoOp"))
    assert draw(made, tmp_path / "sets.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in draw_shots(made, tmp_path / "curves.svg").read_text()
    figure = Sheet(1).figure
    figure.set_figheight(1000)
    height = int.from_bytes(save(figure, tmp_path / "tall.png").read_bytes()[20:24], "big")
    assert height == 30_000, "a picture that viewers can open"


def test_curves_need_several_shots_and_a_common_set():
    assert not has_shots(tables(three_rows("CoOp")))
    assert not has_shots(tables(three_rows("CoOp", sets={"test": 1.0}) + on_validation(three_rows("CoOp", shots=1))))
