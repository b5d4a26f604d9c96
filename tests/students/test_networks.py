"""Networks by name, their weights from files, and how they are refused."""

import pytest
import torch
from torchvision import models

from dho_prompt.students.network_weights import network_weights, put_network_weights
from dho_prompt.students.networks import NetworkName, build_network, has_batch_statistics, parse_network


def test_names():
    assert parse_network("resnet18") == ("torchvision", "resnet18", "")
    assert parse_network("torchvision:resnet50:dino") == ("torchvision", "resnet50", "dino")
    assert parse_network("torchvision:mobilenet_v2:IMAGENET1K_V2").tag == "IMAGENET1K_V2"
    assert parse_network("timm:vit_tiny_patch16_224") == ("timm", "vit_tiny_patch16_224", "")
    assert parse_network("timm:resnet18.tv_in1k").tag == "tv_in1k"
    assert parse_network("ViT-B/16") is None and parse_network("RN50") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "torchvision has no network 'resnet19' .*nearest are: .*resnet18"),
        ("torchvision:resnet18:dino", "has no weights 'dino' .*known are: IMAGENET1K_V1"),
        ("timm:resnet18d_", "timm has no network 'resnet18d_' .*nearest are: .*resnet18d"),
        ("timm:resnet18.none_in1k", "has no weights 'none_in1k' .*tv_in1k"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        parse_network(name)


@pytest.mark.parametrize(
    ("name", "features", "statistics"),
    [
        ("resnet18", 512, True),
        ("resnet50", 2048, True),
        ("mobilenet_v2", 1280, True),
        ("timm:vit_tiny_patch16_224", 192, False),
        ("timm:mobilenetv3_small_050", 1024, True),
    ],
)
def test_features(name, features, statistics):
    """Pooled features without the classifier, at a size that is not the network's usual one; as many as reported."""
    network, count = build_network(parse_network(name), 64)
    assert count == features and has_batch_statistics(network) == statistics
    assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, features)
    assert not any(key.startswith(("fc.", "classifier.", "head.")) for key in network.state_dict())
    if statistics and "timm" not in name:  # looking at the size left the statistics as they were
        assert all(int(v) == 0 for k, v in network.state_dict().items() if k.endswith("num_batches_tracked"))


def test_features_are_the_library_s_own():
    torch.manual_seed(0)
    whole = models.resnet18().eval()
    network, _ = build_network(NetworkName("torchvision", "resnet18", ""), 64)
    put_network_weights(network, whole.state_dict(), "x")
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(whole.fc(network.eval()(images)), whole(images))


def test_drop_path_needs_a_network_that_has_it():
    with pytest.raises(ValueError, match="DROP_PATH is 0.1, but torchvision's resnet18 takes none.*timm:resnet18"):
        build_network(parse_network("resnet18"), 64, drop_path=0.1)
    network, _ = build_network(parse_network("timm:vit_tiny_patch16_224"), 64, drop_path=0.9)
    images = torch.randn(4, 3, 64, 64)
    torch.manual_seed(0)
    first = network.train()(images)
    assert not torch.equal(first, network(images)) and torch.equal(network.eval()(images), network(images))


def test_weights_from_a_file(tmp_path, capsys):
    name = parse_network("resnet18")
    state = models.resnet18().state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "w.pth")
    network, _ = build_network(name, 64)
    put_network_weights(network, network_weights(name, str(tmp_path / "w.pth")), "w.pth")
    assert all(value.equal(state[key]) for key, value in network.state_dict().items())
    assert "Left out of w.pth: fc.weight, fc.bias" in capsys.readouterr().out
    assert network_weights(name) is None
    with pytest.raises(FileNotFoundError, match="none.pth of resnet18 does not exist"):
        network_weights(name, str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read as weights of resnet18"):
        network_weights(name, str(tmp_path / "bad.pth"))


def test_prefixes_and_old_files():
    """Weights of other trainers: a prefix before every name, no counters of batches (DINO's, detectors')."""
    network, _ = build_network(parse_network("resnet18"), 64)
    state = {key: value + 1 for key, value in network.state_dict().items() if "num_batches" not in key}
    other, _ = build_network(parse_network("resnet18"), 64)
    put_network_weights(other, {f"backbone.{key}": value for key, value in state.items()}, "x")
    assert all(other.state_dict()[key].equal(value) for key, value in state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bn1.weight"), "bn1.weight is missing"),
        (lambda state: state.update({"neck.weight": torch.zeros(3)}), "neck.weight is left over"),
        (lambda state: state.update({"conv1.weight": torch.zeros(3)}), r"conv1.weight is \(3,\), the network's is"),
    ],
)
def test_other_weights(change, message):
    network, _ = build_network(parse_network("resnet18"), 64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(ValueError, match=f"the.pth does not fit the network, .*{message}"):
        put_network_weights(network, state, "the.pth")
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*args, **options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    for name, file in (
        ("torchvision:resnet50:dino", "dino_resnet50_pretrain.pth"),
        ("torchvision:resnet18:IMAGENET1K_V1", "resnet18-f37072fd.pth"),
    ):
        with pytest.raises(FileNotFoundError, match=rf"no route.*https://.*{file}.*put it at {tmp_path}.*{file}"):
            network_weights(parse_network(name))


def test_fetched_weights_are_where_torch_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []

    def fetch(url, path, hash_prefix=None):
        asked.append((url, hash_prefix))
        torch.save(models.resnet18().state_dict(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    name = parse_network("torchvision:resnet18:IMAGENET1K_V1")
    assert "conv1.weight" in network_weights(name) and "conv1.weight" in network_weights(name)
    assert asked == [(models.ResNet18_Weights.IMAGENET1K_V1.url, "f37072fd")]
