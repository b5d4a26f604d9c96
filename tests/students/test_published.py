"""Checkpoints in the structure of the paper's published code, made here: the same predictions after conversion."""

import shlex

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from dho_prompt.published import command, convert, run
from dho_prompt.students.network_weights import put_network_weights
from dho_prompt.students.networks import build_network, parse_network
from dho_prompt.students.published import read_published


class Theirs(nn.Module):
    """Two linear heads on a network; ``wrap`` is what the file calls its parts."""

    def __init__(self, backbone, features, classes=5):
        super().__init__()
        self.backbone = backbone
        self.ce_head, self.kd_head = nn.Linear(features, classes), nn.Linear(features, classes)


def torchvision_student(name):
    network = getattr(models, name)()
    features = {"resnet18": 512, "resnet50": 2048, "mobilenet_v2": 1280}[name]
    return network, Theirs(nn.Sequential(*list(network.children())[:-1]), features)


def save(model, path, prefix="", **more):
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    torch.save({"model_state_dict": state, "epoch": 3, "acc": 1.0, **more}, path)
    return str(path)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_networks_of_torchvision(tmp_path, name):
    torch.manual_seed(0)
    network, theirs = torchvision_student(name)
    path = save(theirs, tmp_path / "x.pt", alpha=0.3, beta=0.7)
    found = convert(path, tmp_path / "run")
    assert (found.network, found.size, found.kd_head) == (name, None, "linear")
    assert (found.alpha, found.beta, found.classes) == (0.3, 0.7, 5)
    ours, _ = build_network(parse_network(name), 64)
    put_network_weights(ours, found.models["backbone"], path)
    images = torch.randn(2, 3, 64, 64)
    parts = theirs.backbone.eval()(images)
    wanted = F.adaptive_avg_pool2d(parts, 1).flatten(1)
    torch.testing.assert_close(ours.eval()(images), wanted)


@pytest.fixture(scope="module")
def tower():
    """The image tower of a CLIP ViT in the shape of ViT-B/16, with two layers."""
    torch.manual_seed(0)
    config = {"image_size": 224, "layers": 1, "width": 768, "head_width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 32, "width": 64, "heads": 1, "layers": 1}
    return open_clip.CLIP(embed_dim=512, vision_cfg=config, text_cfg=text).visual


def test_clips(tmp_path, tower):
    """The KD head of the published code: 100 (W z/|z| + b)."""
    theirs = Theirs(tower, 512)
    path = save(theirs, tmp_path / "x.pt", "module.", alpha=0.5, beta=0.5)
    found = convert(path, tmp_path / "run")
    assert (found.network, found.size, found.kd_head) == ("ViT-B/16", 224, "scaled")
    from dho_prompt.engine import load_checkpoint, load_strictly
    from dho_prompt.heads import make_head

    head = make_head(512, 5, "scaled", zeta=0.07)
    load_strictly(head, load_checkpoint(str(tmp_path / "run" / "kd_head" / "model.pth.tar-1")), path)
    features = torch.randn(3, 512)
    torch.testing.assert_close(head(features).float(), theirs.kd_head(F.normalize(features, dim=1)) * 100)
    assert all(found.models["backbone"][key].equal(value) for key, value in tower.state_dict().items())
    words = shlex.split(command(found, tmp_path / "run"))
    options = dict(
        zip(words[words.index("MODEL.BACKBONE.NAME") :: 2], words[words.index("MODEL.BACKBONE.NAME") + 1 :: 2])
    )
    assert options["TRAINER.DHO.ALPHA"] == options["TRAINER.DHO.BETA"] == "0.5"
    assert options["INPUT.SIZE"] == "(224, 224)" and options["TRAINER.DHO.HEAD"] == "scaled"


def test_evaluation(tmp_path, data_root, capsys):
    """Through the printed command, on a small data set: the accuracy that the published model has."""
    from dho_prompt.train import run as train

    torch.manual_seed(1)
    _, theirs = torchvision_student("resnet18")
    path = save(theirs, tmp_path / "x.pt", "module.", alpha=0.3, beta=0.7)
    run([path, str(tmp_path / "run")])
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])[3:]
    words[words.index("--root") + 1] = str(data_root)
    words[words.index("--dataset-config-file") + 1] = "configs/datasets/imagenet.yaml"
    extra = [
        "INPUT.SIZE",
        "(64, 64)",
        "DATALOADER.NUM_WORKERS",
        "0",
        "DATASET.NUM_SHOTS",
        "2",
        "TEST.SHIFTED_SETS",
        "()",
    ]
    train([*words, *extra])
    printed = capsys.readouterr().out

    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as T

    correct, total = 0, 0
    folders = sorted((data_root / "imagenet" / "images" / "val").iterdir())
    for label, folder in enumerate(folders):
        for file in folder.iterdir():
            image = Image.open(file).convert("RGB")
            image = T.center_crop(T.resize(image, 64, InterpolationMode.BILINEAR), 64)
            image = T.normalize(T.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]
            with torch.no_grad():
                z = F.adaptive_avg_pool2d(theirs.eval().backbone(image), 1).flatten(1)
                mixed = 0.3 * theirs.ce_head(z).softmax(1) + 0.7 * (theirs.kd_head(z) / 0.7).softmax(1)
            correct, total = correct + int(mixed.argmax() == label), total + 1
    assert f"* correct: {correct}\n" in printed and f"* total: {total}\n" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model_state_dict"), "has no model_state_dict of tensors.*entries are epoch"),
        (lambda c: c["model_state_dict"].pop("kd_head.bias"), "no weight and bias of kd_head"),
        (lambda c: c["model_state_dict"].update({"neck.weight": torch.zeros(1)}), "neck.weight, which belongs to none"),
        (lambda c: c["model_state_dict"].pop("backbone.4.0.conv1.weight"), "a network of another kind"),
        (lambda c: c["model_state_dict"].update({"backbone.9.weight": torch.zeros(1)}), "no ResNet of torchvision has"),
        (lambda c: c.update(beta=0.0), "beta 0.0, which is no mix"),
    ],
)
def test_other_files(change, message):
    _, theirs = torchvision_student("resnet18")
    checkpoint = {"model_state_dict": dict(theirs.state_dict()), "epoch": 3, "alpha": 0.5, "beta": 0.5}
    change(checkpoint)
    with pytest.raises(ValueError, match=f"x.pt.*{message}"):
        read_published(checkpoint, "x.pt")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    _, theirs = torchvision_student("resnet18")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        convert(save(theirs, tmp_path / "x.pt"), tmp_path / "run")
