"""Tables over the number of labelled images, and networks trained in full beside other methods."""

import pytest
from tables.made_results import result, three_rows

from dho_prompt.tables.over_shots import over_shots
from dho_prompt.tables.render import markdown
from dho_prompt.tables.table import tables


def runs(shots, before, after, sets=("test",), **more):
    for seed, (plain, dho) in enumerate(zip(before, after), 1):
        yield result("CoOp", seed, dict.fromkeys(sets, plain), shots=shots, **more)
        yield result("CoOpDHO", seed, dict.fromkeys(sets, dho), shots=shots, **more)


def test_a_column_for_each_number_of_shots():
    made = tables([*runs(16, (70, 72), (71, 70)), *runs(4, (50, 54), (60, 61)), *runs(1, (40, 41), (55, 52))])
    (table,) = over_shots(made)
    assert (table.dataset, table.labelled) == ("Digits", "test")
    assert table.columns == ["1 shot", "4 shots", "16 shots"]
    found = {row.name: row for row in table.rows}
    assert list(found) == ["CoOp", "CoOpDHO", "gain by CoOpDHO"]  # no single heads, gains last
    assert found["CoOpDHO"].values == {"1 shot": [55, 52], "4 shots": [60, 61], "16 shots": [71, 70]}
    assert found["gain by CoOpDHO"].values == {"1 shot": [15, 11], "4 shots": [10, 7], "16 shots": [1, -2]}
    assert found["gain by CoOpDHO"].signed


def test_shifted_sets_by_their_mean():
    sets = {"test": 60.0, "V2": 50.0, "R": 30.0}
    made = tables([*three_rows("CoOp", sets=sets, shots=1), *three_rows("CoOp", sets=sets, shots=2)])
    own, shifted = over_shots(made)
    assert (own.labelled, shifted.labelled) == ("test", "mean shifted")
    for number, column in enumerate(("1 shot", "2 shots")):
        for row in shifted.rows:
            assert row.values[column] == next(r for r in made[number].rows if r.name == row.name).values["mean shifted"]


def test_a_method_that_was_not_run_with_some_shots_has_gaps():
    alone = [result("VPT", seed, {"test": 10.0 * seed}, shots=4) for seed in (1, 2)]
    (table,) = over_shots(tables([*runs(1, (1, 2), (3, 4)), *runs(4, (5, 6), (7, 8)), *alone]))
    assert {row.name: list(row.values) for row in table.rows}["VPT"] == ["4 shots"]


def test_it_says_when_seeds_are_missing():
    (whole,) = over_shots(tables([*runs(1, (1, 2), (3, 4)), *runs(4, (5, 6), (7, 8))]))
    assert "over 2 seeds.\n" in markdown(whole)
    (part,) = over_shots(tables([*runs(1, (1, 2), (3, 4)), *runs(4, (5,), (7,))]))
    assert "over the seeds. Not all values are of the same seeds" in markdown(part)


def test_one_number_of_shots_needs_no_table():
    assert over_shots(tables(list(runs(4, (1, 2), (3, 4))))) == []


@pytest.fixture
def networks():
    return [
        result(name, 1, {"test": 50.0}, backbone=net) for net in ("r18", "vit") for name in ("Finetune", "FinetuneDHO")
    ]


def test_networks_trained_in_full_have_tables_of_their_own(networks):
    made = tables([*networks, *runs(4, (1,), (2,), backbone="vit")])
    assert [table.title for table in made] == [
        "Digits, 4 shots",
        "Digits, r18 in full, 4 shots",
        "Digits, vit in full, 4 shots",
    ]
    assert [len(table.protocol) for table in made] == [2, 2, 2]


def test_one_network_alone_is_not_named(networks):
    assert [table.title for table in tables(networks[:2])] == ["Digits, 4 shots"]
