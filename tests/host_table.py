"""A table of what DHO does in a checkout of somebody else's.

    python tests/host_table.py CHECKOUT TRAINER [--wide | --resnet] [--log] [--in-place] [--epochs N] [KEY VALUE ...]

Runs the checkout's own train.py as ``python -m dho_prompt.hosts run`` does, on tiny random CLIPs and an ImageNet of
five classes made on the spot, on the CPU (``.cuda()`` does nothing), with Dassl on PYTHONPATH. ``--wide`` is for code
that fixes the widths of ViT-B, ``--resnet`` for code that takes ResNets alone, ``--log`` for one that prints to log.txt
alone, ``--epochs`` for one that sets their number itself. Each line says what held: off = host, trained, killed and
resumed = uninterrupted, images evaluated, gradients against lambda times the host's own plus (1 - lambda) times those
of a KD loss by a plain formula.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from tests_support import write_clip, write_imagenet


def main(checkout, trainer, *words):
    if "--epochs" in words:
        cut = words.index("--epochs")
        os.environ["DHO_PROMPT_HOST_EPOCHS"] = words[cut + 1]
        words = words[:cut] + words[cut + 2 :]
    import real_hosts
    import test_real_hosts as gradients
    from real_hosts import (
        EPOCHS,
        HOST_WARMUP,
        Host,
        check_killed_and_resumed_and_evaluated,
        log_lines,
        openai_clip,
        same,
    )

    flags = [word for word in words if word in ("--wide", "--resnet", "--log", "--in-place")]
    words = [word for word in words if word not in flags]
    wide = None if "--resnet" in flags else "--wide" in flags
    keys = {key.removeprefix("TRAINER."): value for key, value in zip(words[::2], words[1::2])}
    os.environ["DHO_PROMPT_CHECKOUT"] = checkout
    real_hosts.HOSTS[trainer] = ("CHECKOUT", "", "", wide, True, {})
    folder = Path(tempfile.mkdtemp())
    write_imagenet(folder / "data")
    student = openai_clip(folder / "student", wide, 1, 512 if wide else 64)
    students = {wide: student, 2: openai_clip(folder / "hosts_teacher", False, 3)}
    teacher = write_clip(folder / "teacher", 48, 40, 2, zeta=0.05, mean=[0.3, 0.4, 0.5], std=[0.2, 0.3, 0.25])
    host = Host(trainer, students, str(teacher), folder / "data", folder)
    host.plug, host.prints_to_log, host.in_place = "run", "--log" in flags, "--in-place" in flags
    host.keys = {
        key: value
        for key, value in keys.items()
        if key.split(".")[0] not in ("INPUT", "LOSS", "OPTIM", "DATASET", "TASK")
    }
    more = {key: value for key, value in keys.items() if key not in host.keys}
    found = {}

    def column(name, measure):
        try:
            found[name] = measure() or "yes"
        except BaseException as error:  # noqa: BLE001  a table says what happened
            line = traceback.extract_tb(error.__traceback__)[-1].line
            found[name] = f"no ({line}): " + str(error).strip()[-1500:]
        print(f"{trainer} | {name} | {found[name]}", flush=True)

    def off():
        alone = host.run(trainer, "alone", opts={**HOST_WARMUP, **more})
        (host.model,) = (
            path.name for path in (folder / "alone").iterdir() if (path / f"model.pth.tar-{EPOCHS}").exists()
        )
        switched = {"TRAINER.DHO.LAMBDA": 1.0, "TRAINER.DHO.ALPHA": 1.0, **HOST_WARMUP, **more}
        dho = host.run(f"{trainer}DHO", "off", opts=switched)
        assert same(host.weights("alone"), host.weights("off")) == [], "weights differ"
        assert log_lines(alone) == log_lines(dho) and len(log_lines(alone)) > EPOCHS, "logs differ"

    def evaluated():
        accuracy = json.loads((folder / "whole" / "results.json").read_text())["accuracy"]["test"]
        assert accuracy["images"] > 0
        return f"{accuracy['images']} images"

    def whole():
        run = host.run
        host.run = lambda *args, **settings: run(*args, **{**settings, "opts": more})
        killed = host.killed_run
        host.killed_run = lambda *args, **settings: killed(*args, **{**settings, "opts": more})
        try:
            check_killed_and_resumed_and_evaluated(host, f"{trainer}DHO")
        finally:
            host.run, host.killed_run = run, killed

    def steps():
        schedule = {"OPTIM.WARMUP_EPOCH": -1, "TRAINER.DHO.LAMBDA": 0.5, **more}
        error, head, share = gradients.measured(host, gradients.GRADIENTS, schedule)
        assert head < 1e-4 and error < (5e-3 if "fp16" in words else 1e-4), f"host {error:.1e}, head {head:.1e}"
        return f"host {error:.1e}, head {head:.1e}, share of KD {share:.2f}"

    column("off = host", off)
    column("trained, killed and resumed", whole)
    column("evaluated", evaluated)
    column("gradients", steps)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
