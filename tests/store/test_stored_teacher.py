"""A run that reads a store sees the stored crops, and hears what the teacher would say of them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.store.crops import drawn_crop
from dho_prompt.store.rows import StoredRows
from dho_prompt.train import run
from dho_prompt.training.build_teacher import build_teacher
from trainer_contract import build

BILINEAR = {"INPUT.INTERPOLATION": "bilinear"}


def batches_of(trainer, epochs=3):
    """All batches of a run, with the crops of the store."""
    trainer.before_train()
    trainer.set_model_mode("train")
    for epoch in range(trainer.start_epoch, epochs):
        trainer.epoch = epoch
        trainer.before_epoch()
        yield from trainer.train_loader_x


def divergence(first, second, eta=2.0):
    """KL of each row's softened probabilities, in float64."""
    first, second = ((logits.double() / eta).log_softmax(1) for logits in (first, second))
    return (first.exp() * (first - second)).sum(1)


def by_hand(path, crop, size, settings):
    """(3, size, size) of a crop, normalised."""
    top, left, height, width, flipped = crop.tolist()
    image = Image.open(path).convert("RGB").crop((left, top, left + width, top + height))
    image = image.resize((size, size), Image.BILINEAR)
    pixels = np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image) / 255
    return torch.tensor((pixels - settings.PIXEL_MEAN) / settings.PIXEL_STD).permute(2, 0, 1).float()


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-6), ("float16", 1e-5)])
@pytest.mark.parametrize("holds", ["logits", "features"])
def test_it_says_what_the_teacher_would_say_of_the_very_crops(arguments, made, holds, dtype, limit):
    folder = made(3, flags=("--dtype", dtype, "--holds", holds), more=BILINEAR)
    trainer = build(arguments("CoOpDHO", {"TRAINER.DHO.TEACHER.STORE": folder, **BILINEAR}))
    batches = list(batches_of(trainer))
    online = build_teacher(trainer.cfg, trainer.classnames, "fp32", trainer.device)
    views = {name: set() for name in ("", "_u")}
    for content in batches:
        batch = Batch(content, trainer.crop, trainer.device)
        said, seen, place = trainer.teacher(batch), batch.images(), 0
        assert set(content) & {"img_teacher", "img_teacher_u"} == set()
        for name, items in (("", trainer.dm.dataset.train_x), ("_u", trainer.pool)):
            index, stored = content[f"index{name}"].tolist(), (content[f"place{name}"], content[f"view{name}"])
            crops = trainer.stores.rows["teacher"].read(*map(np.asarray, stored))["crop"]
            for image, view, crop in zip(index, stored[1].tolist(), crops):
                path = items[image].impath
                torch.testing.assert_close(by_hand(path, crop, 32, trainer.cfg.INPUT), seen[place])
                logits = online.logits(by_hand(path, crop, online.views[0].size, trainer.cfg.INPUT)[None])
                assert divergence(logits, said[place : place + 1]).abs().max() < limit
                views[name].add((image, view))
                place += 1
    assert len(views[""]) == 3 * 8 and len(views["_u"]) == 30  # no view of an image twice
    assert len({tuple(map(float, batch["img"][0].flatten()[:9])) for batch in batches}) == len(batches)


def test_a_run_with_a_store(arguments, made, tmp_path):
    folder = made(6)
    rows = StoredRows(folder)
    assert rows.manifest.views == 6 and rows.manifest.images == 40 and rows.manifest.holds == "logits"
    run(arguments("CoOpDHO", {"TRAINER.DHO.TEACHER.STORE": folder}))
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["stores"]["views"] == 6 and record["stores"]["reused"] is False


def test_the_crop_of_a_view_moves_no_random_numbers():
    transform, image = SharedCrop(View(8, (0.0,) * 3, (1.0,) * 3)), Image.new("RGB", (60, 40))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    crops = [drawn_crop(transform, image, name, view) for name in ("a", "b") for view in (0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert crops == [drawn_crop(transform, image, name, view) for name in ("a", "b") for view in (0, 1)]
    assert len(set(crops)) == 4
