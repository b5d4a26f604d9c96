"""Run a checkout's own train.py with the lines of our recipe added, on a CLIP from a local file.

    python host_driver.py SETTINGS.json [train.py's arguments]

SETTINGS: ``checkout``; ``plug`` (lines put behind train.py's imports; "" leaves the file as it is); ``models``
(backbone name -> weights file); ``hosts_teacher`` (folder of a CLIP in place of the one that a host fetches through
open_clip); ``pretend_gpu`` (make ``.cuda()`` do nothing, so that hosts that call it run on the CPU); ``script`` (run
with train.py's names in place of its main part, or "").
"""

import json
import sys
from pathlib import Path

import torch

settings = json.loads(Path(sys.argv[1]).read_text())
checkout = Path(settings["checkout"])
sys.dont_write_bytecode = True
sys.path.insert(0, str(checkout))
torch.set_num_threads(1)
if settings["pretend_gpu"]:
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self

from clip import clip  # noqa: E402  the checkout's

clip._MODELS.update(settings["models"])
clip._download = lambda url, *args: url

import open_clip  # noqa: E402

create = open_clip.create_model_and_transforms
open_clip.create_model_and_transforms = lambda name, **more: create(f"local-dir:{settings['hosts_teacher']}")

source = (checkout / "train.py").read_text()
(merge,) = (line for line in ("    extend_cfg(cfg)\n", "    extend_cfg(cfg, args)\n") if line in source)
assert source.count(merge) == source.count("import trainers.zsclip\n") == source.count("\n\ndef print_args") == 1
if settings["plug"]:
    source = source.replace(merge, merge + "    extend_cfg_dho(cfg)\n")
    added = "from dho_prompt import extend_cfg as extend_cfg_dho, with_dho\n" + settings["plug"]
    source = source.replace("\n\ndef print_args", f"\n{added}\n\ndef print_args", 1)
sys.argv = [str(checkout / "train.py"), *sys.argv[2:]]
namespace = {"__name__": "train" if settings["script"] else "__main__"}
exec(compile(source, sys.argv[0], "exec"), namespace)
if settings["script"]:
    exec(compile(settings["script"], "script", "exec"), namespace)
