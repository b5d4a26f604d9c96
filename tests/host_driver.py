"""Run a checkout's own train.py with the lines of our recipe added, on a CLIP from a local file.

    python host_driver.py SETTINGS.json [train.py's arguments]

SETTINGS: ``checkout``; ``plug`` (lines put behind train.py's imports; "" leaves the file as it is; "run" adds DHO as
``python -m dho_prompt.hosts run`` does); ``models``
(backbone name -> weights file); ``hosts_teacher`` (folder of a CLIP in place of the one that a host fetches through
open_clip); ``pretend_gpu`` (make ``.cuda()`` do nothing, so that hosts that call it run on the CPU); ``script`` (run
with train.py's names in place of its main part, or "").
"""

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import packaging.version
import torch

settings = json.loads(Path(sys.argv[1]).read_text())
checkout = Path(settings["checkout"])
sys.dont_write_bytecode = True
sys.path.insert(0, str(checkout))
torch.set_num_threads(1)
if settings["pretend_gpu"]:
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    for kind in (torch.Tensor, torch.nn.Module):  # PLOT writes .to("cuda") for ImageNet

        def to(self, *args, to=kind.to, **kwargs):
            return self if args and str(args[0]).startswith("cuda") else to(self, *args, **kwargs)

        kind.to = to

for missing, content in {"pkg_resources": {"packaging": packaging}, "plotnine": {}}.items():
    if find_spec(missing) is None:  # imported by a checkout for its version checks or its pictures
        sys.modules[missing] = stand_in = ModuleType(missing)
        vars(stand_in).update(content, __getattr__=lambda name: None, __all__=[])

from clip import clip  # noqa: E402  the checkout's

further = "trainers.clip_text.clip" if (checkout / "trainers" / "clip_text").is_dir() else ""  # TCP's second one
for module in [clip, *([import_module(further)] if further else [])]:
    module._MODELS.update(settings["models"])
    module._download = lambda url, *args: url

import open_clip  # noqa: E402

create = open_clip.create_model_and_transforms
open_clip.create_model_and_transforms = lambda name, **more: create(f"local-dir:{settings['hosts_teacher']}")

if settings["plug"] == "run":  # as python -m dho_prompt.hosts run does it
    from dho_prompt.hosts.checkout import execute, find_script

    words = sys.argv[2:]
    name = words.index("--trainer") + 1 if "--trainer" in words else 0
    in_place = settings.get("in_place", False) and words[name].endswith("DHO")
    if in_place:
        words[name] = words[name].removesuffix("DHO")
    sys.argv = [str(checkout / "train.py"), *words]
    os.chdir(checkout)
    namespace = execute(find_script(checkout), "train" if settings["script"] else "__main__", in_place)
    if settings["script"]:
        exec(compile(settings["script"], "script", "exec"), namespace)
    sys.exit()

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
