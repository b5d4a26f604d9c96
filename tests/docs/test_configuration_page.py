"""The page of keys is what the code says now, and leaves no key out."""

import importlib.util
from pathlib import Path

from dho_prompt.config import declared
from dho_prompt.engine.embedded.defaults import get_cfg_default

REPOSITORY = Path(__file__).resolve().parents[2]


def writer():
    spec = importlib.util.spec_from_file_location("write_configuration", REPOSITORY / "docs/write_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date():
    assert writer().PAGE.read_text(encoding="utf-8") == writer().page(), "run: python docs/write_configuration.py"


def test_every_key_has_a_row_with_its_default_and_range():
    rows = {line.split("`")[1]: line for line in writer().page().splitlines() if line.startswith("| `")}
    assert set(declared()) <= set(rows) and {"SEED", "OPTIM.LR", "DATALOADER.TRAIN_U.BATCH_SIZE"} <= set(rows)
    assert not any(key.startswith(("TRAINER.MCD", "VERSION")) for key in rows)
    assert get_cfg_default().OPTIM.LR == 0.0003 and "| `0.0003` | a number of at least 0 |" in rows["OPTIM.LR"]
    assert rows["TRAINER.VPT.HEAD"].startswith("| `TRAINER.VPT.HEAD` | `linear` | one of linear, cosine, text | ")
    assert "| `-1` | -1 (all) or a whole number" in rows["DATASET.VAL_SHOTS"]
