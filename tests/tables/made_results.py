"""Result files made up for tests of tables and pictures."""

import random

SETS = {"test": 70.0, "V2": 60.0, "Sketch": 30.0, "R": 50.0, "A": 55.0}


def result(
    trainer, seed, accuracy, shots=4, lr=0.002, labelled="abc", pool=800, dataset="Digits", backbone="s", **more
):
    """``accuracy``: set -> percent, for ...DHO of the blend; its CE head has 1 more, its KD head 1 less."""
    heads = {"blend": 0, "ce": 1, "kd": -1} if trainer.endswith("DHO") else {"ce": 0}
    sets = {name: {head: value + shift for head, shift in heads.items()} for name, value in accuracy.items()}
    made = {
        "trainer": trainer, "dataset": dataset, "shots": shots, "seed": seed,
        "accuracy": {name: {**found, "images": 10} for name, found in sets.items()},
        "ece": {name: {head: value / 10 for head, value in found.items()} for name, found in sets.items()},
        "classes": {name: {"own": 10, "scored": 10} for name in sets}, "epochs": 5, "device": "cpu",
        "split": {"hash": f"h{seed}", "labelled_hash": f"{labelled}{seed}", "labelled": 40, "unlabelled": pool},
        "engine": "embedded 0", "versions": {"torch": "2"},
        "config": {
            "SEED": seed, "OUTPUT_DIR": f"o{seed}", "OPTIM": {"LR": lr}, "DATASET": {"NAME": dataset},
            "MODEL": {"BACKBONE": {"NAME": backbone}}, "TRAINER": {},
        },
    }  # fmt: skip
    if "blend" in heads:
        made.update(mix={"alpha": 0.5, "beta": 1.0, "chosen": "fixed"}, teacher={"name": "t"})
    return {**made, **more}


def with_config(run, **dataset):
    return {**run, "config": {**run["config"], "DATASET": {**run["config"]["DATASET"], **dataset}}}


def three_rows(host, seeds=(1, 2, 3), sets=SETS, gain=3.0, **more):
    """Runs of a host, with DHO on labelled images alone and with unlabelled ones; seeds and sets differ a little."""
    runs = []
    for trainer, pool, add in ((host, 0, 0.0), (f"{host}DHO", 0, gain / 2), (f"{host}DHO", 800, gain)):
        for seed in seeds:
            found = {
                name: value + add + random.Random(f"{trainer} {pool} {seed} {name}").gauss(0, 1)
                for name, value in sets.items()
            }
            runs.append(result(trainer, seed, found, pool=pool, **more))
    return runs
