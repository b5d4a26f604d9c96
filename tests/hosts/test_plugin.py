"""DHO on trainers that know nothing of it: the same as alone when switched off, a hand-written trainer when on."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import dho_prompt.data.datasets  # noqa: F401  registers the data sets
from dho_prompt import engine
from dho_prompt.hosts.adapters import Adapter
from dho_prompt.hosts.errors import dassl_may_break
from dho_prompt.hosts.own import check_same_view
from dho_prompt.hosts.repairs import repaired
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.runs.resume import Resumable
from dho_prompt.train import parser, setup_cfg
from stand_in_hosts import HOSTS, EngineStep, HostBase, LossStep, ScaledStep, TupleStep

ADAPTERS = {TupleStep: Adapter(state=("average", "count"))}
PLUGGED = {host: with_dho(host, ADAPTERS.get(host)) for host in HOSTS}
OPTIONS = ("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "TRAIN.COUNT_ITER", "train_x", "TRAINER.DHO.TEMPERATURE", "2.0")
OFF = ("TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.ALPHA", "1")
every_host = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)


@pytest.fixture
def build(train_args, tmp_path):
    """``build(cls, KEY, VALUE, ..., output=name)``: a trainer of a small run."""

    def make(cls, *opts, output="run", **more):
        cfg = setup_cfg(parser().parse_args(train_args("any", *OPTIONS, *opts, output=tmp_path / output, **more)))
        engine.set_random_seed(1)
        return cls(cfg)

    return make


def alone(host):
    """The host by itself; the embedded engine saves and resumes through Resumable."""
    return type(f"{host.__name__}Alone", (Resumable, host), {})


def log_of(capsys):
    lines = capsys.readouterr().out.splitlines()
    return [
        re.sub(r"(time|data) [\d.]+ \([\d.]+\)|eta [\d:]+", "", line)
        for line in lines
        if line.startswith(("epoch [", "* ", "=> "))
    ]


def weights(trainer, name="prompted"):
    return {key: value.clone() for key, value in trainer._models[name].state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def predictions(trainer):
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return torch.cat([trainer.model_inference(trainer.parse_batch_test(batch)[0]) for batch in trainer.test_loader])


# Switched off


@every_host
def test_with_lambda_one_and_alpha_one_it_is_the_host_bit_for_bit(build, host, capsys):
    plain = build(alone(host), output="alone")
    plain.train()
    plain_log = log_of(capsys)
    dho = build(PLUGGED[host], *OFF, output="dho")
    dho.train()
    assert equal(weights(plain), weights(dho))
    assert plain_log == log_of(capsys) and len(plain_log) > 6
    assert torch.equal(predictions(plain), predictions(dho))


def test_with_lambda_one_no_unlabelled_image_is_read_and_the_teacher_sees_none(build):
    trainer = build(PLUGGED[LossStep], *OFF, "TRAIN.COUNT_ITER", "train_u")
    trainer.before_train()
    batches = list(trainer.train_loader_x)
    assert trainer.pool == () and set(batches[0]) == {"img", "label", "domain", "impath", "index"}
    assert len(batches) == len(build(alone(LossStep), output="alone").train_loader_x)
    on = build(PLUGGED[LossStep], output="on")
    on.before_train()
    assert len(on.pool) == 40 and "img_u" in next(iter(on.train_loader_x))


@pytest.mark.parametrize("workers", [0, 2])
def test_labelled_batches_are_the_hosts_own(build, workers):
    batches = []
    for cls in (alone(EngineStep), PLUGGED[EngineStep]):
        trainer = build(cls, "DATALOADER.NUM_WORKERS", workers, output=cls.__name__)
        if cls is PLUGGED[EngineStep]:
            trainer.before_train()  # from here on the teacher's view is made too
        engine.set_random_seed(7)
        batches.append([batch for _ in range(2) for batch in trainer.train_loader_x])
    assert len(batches[0]) == len(batches[1]) == 4
    for theirs, ours in zip(*batches):
        assert theirs["impath"] == ours["impath"] and torch.equal(theirs["img"], ours["img"])
        assert torch.equal(theirs["label"], ours["label"]) and "label_u" not in ours
        assert ours["img_teacher"].shape[-1] == 40 and ours["img_u"].shape == ours["img"].shape


# Switched on


def one_step(trainer):
    """Prepare a step on the first batch; returns the batch."""
    trainer.before_train()
    trainer.set_model_mode("train")
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 9
    return next(iter(trainer.train_loader_x))


def recorded_gradients(optimizer, where):
    """Keep the gradients that each call of ``optimizer.step`` sees."""
    groups = optimizer.param_groups
    optimizer.register_step_pre_hook(lambda *_: where.append([p.grad.clone() for g in groups for p in g["params"]]))


def kl(teacher_logits, student_logits, eta):
    p = torch.softmax(teacher_logits.double() / eta, -1)
    q = torch.softmax(student_logits.double() / eta, -1)
    return eta**2 * (p * (p.log() - q.log())).sum(-1).mean()


@every_host
@pytest.mark.parametrize("lam", [0.5, 0.2])
def test_gradients_are_those_of_a_hand_written_trainer(build, host, lam):
    trainer = build(PLUGGED[host], "TRAINER.DHO.LAMBDA", lam)
    batch = one_step(trainer)
    model, head, labels = trainer.model, trainer.objective.head, batch["label"]
    count = len(labels)

    output = model(batch["img"], labels)
    more = {} if model.shift is None else {"shift": model.shift, "gain": 1.5}
    features = torch.cat([model.image_encoder(batch[key], **more) for key in ("img", "img_u")])
    directions = head.weight / head.weight.norm(dim=-1, keepdim=True)
    student = features / features.norm(dim=-1, keepdim=True) @ directions.t() / head.zeta
    teacher = trainer.teacher.logits(torch.cat([batch["img_teacher"], batch["img_teacher_u"]]))
    kd = kl(teacher[:count], student[:count], 2.0) + kl(teacher[count:], student[count:], 2.0)
    total = lam * trainer.host_loss(output, labels).double() + (1 - lam) * kd
    parameters = [p for group in trainer.optim.param_groups for p in group["params"]] + [head.weight]
    expected = torch.autograd.grad(total, parameters)

    seen, seen_head = [], []
    recorded_gradients(trainer.optim, seen)
    recorded_gradients(trainer._optims["kd_head"], seen_head)
    summary = trainer.forward_backward(batch)
    assert len(seen) == len(seen_head) == 1
    for gradient, wanted in zip(seen[0] + seen_head[0], expected):
        assert wanted.abs().max() > 0
        assert (gradient - wanted).abs().max() <= 1e-6 * max(1.0, wanted.abs().max())
    assert abs(summary["loss_kd_x"] + summary["loss_kd_u"] - kd.item()) < 1e-5
    assert abs(summary["loss"] - trainer.host_loss(output, labels).item()) < 1e-6
    assert not model._forward_hooks and not model.image_encoder._forward_hooks


class Beside(LossStep):
    def host_loss(self, output, labels):
        return output + 7 * (self.model.offset + 1).square().sum()


def test_a_loss_beside_the_models_output_keeps_its_own_weight(build):
    seen = {}
    for host in (Beside, LossStep):
        trainer = build(with_dho(host, name=f"{host.__name__}Weighted"), output=host.__name__)
        batch = one_step(trainer)
        seen[host] = []
        recorded_gradients(trainer.optim, seen[host])
        trainer.forward_backward(batch)
    (beside,), (plain,) = seen[Beside][0], seen[LossStep][0]
    assert torch.allclose(beside - plain, torch.full_like(plain, 14.0), atol=1e-4)


@every_host
def test_the_head_steps_once_a_step_and_its_rate_follows_the_schedule(build, host):
    trainer = build(PLUGGED[host], "TRAINER.DHO.HEAD_LR", "0.5")
    rates, host_rates = [], []
    for name, found in (("kd_head", rates), ("prompted", host_rates)):
        trainer._optims[name].register_step_pre_hook(
            lambda optimizer, *_, found=found: found.append((trainer.epoch, optimizer.param_groups[0]["lr"]))
        )
    trainer.train()
    assert len(trainer.train_loader_x) == 2
    cosine = {0: 1e-5, 1: 1.0, 2: 0.75}  # one epoch of warm-up, then cosine over three from its start
    assert rates == [(epoch, pytest.approx(0.5 * share if epoch else share)) for epoch, share in cosine.items()
                     for _ in range(2)]  # fmt: skip
    assert host_rates == [(epoch, pytest.approx(0.01 * share if epoch else share)) for epoch, share in cosine.items()
                          for _ in range(2)]  # fmt: skip


def test_an_overflow_skips_the_head_and_the_scale_is_removed(build):
    trainer = build(PLUGGED[ScaledStep], "OPTIM.WARMUP_EPOCH", "0")
    batch = one_step(trainer)
    before, before_host = trainer.objective.head.weight.detach().clone(), trainer.model.offset.detach().clone()
    trainer._gradient_scale = lambda: float("inf")
    trainer.scaler.poison = True
    trainer.forward_backward(batch)
    assert torch.equal(before, trainer.objective.head.weight) and torch.equal(before_host, trainer.model.offset)
    del trainer._gradient_scale
    trainer.scaler.poison = False
    trainer.forward_backward(batch)
    assert not torch.equal(before, trainer.objective.head.weight) and not torch.equal(before_host, trainer.model.offset)


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="torch has no scaler for the CPU")
def test_torchs_own_scaler_changes_nothing(build):
    """Factors that are powers of two leave every bit of a float32 gradient."""
    plain = build(PLUGGED[LossStep], output="plain")
    plain.train()
    scaled = build(PLUGGED[ScaledStep], output="scaled")
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=2)
    scaled.train()
    assert scaled.scaler.get_scale() > 2.0**12
    for name in ("prompted", "kd_head"):
        assert equal(weights(plain, name), weights(scaled, name))


def test_without_unlabelled_images_the_pool_term_is_zero(build):
    trainer = build(PLUGGED[LossStep], "TRAINER.DHO.UNLABELED", "none")
    summary = trainer.forward_backward(one_step(trainer))
    assert summary["loss_kd_u"] == 0 and summary["loss_kd_x"] > 0


# Killed and resumed


class Killed(Exception):
    pass


@every_host
def test_a_killed_run_ends_as_a_whole_one(build, host):
    whole = build(PLUGGED[host], "OPTIM.WARMUP_EPOCH", "2", output="whole")
    rates = record_rates(whole)
    whole.train()

    torn = build(PLUGGED[host], "OPTIM.WARMUP_EPOCH", "2", output="torn")
    torn_rates = record_rates(torn, kill_in=2)
    with pytest.raises(Killed):
        torn.train()
    again = build(PLUGGED[host], "OPTIM.WARMUP_EPOCH", "2", output="torn")
    more = record_rates(again)
    again.train()
    assert torn_rates[:4] + more == rates and len(more) == len(rates) - 4
    for name in ("prompted", "kd_head"):
        assert equal(weights(whole, name), weights(again, name))
    assert torch.equal(predictions(whole), predictions(again))


def test_the_hosts_averaged_weights_are_stored_once_a_checkpoint(build, tmp_path):
    trainer = build(PLUGGED[TupleStep])
    trainer.train()
    stored = {
        name: torch.load(tmp_path / "run" / name / "model.pth.tar-3", weights_only=True)["trainer"]["extra"]
        for name in ("prompted", "kd_head")
    }
    assert "host" not in stored["kd_head"] and stored["kd_head"]["classnames"] == trainer.classnames
    assert torch.equal(stored["prompted"]["host"]["average"]["offset"], trainer.average["offset"])


def record_rates(trainer, kill_in=None):
    rates, step = [], trainer.forward_backward

    def recording(batch):
        if trainer.epoch == kill_in:
            raise Killed
        rates.append((trainer.epoch, trainer.get_current_lr(), trainer._optims["kd_head"].param_groups[0]["lr"]))
        return step(batch)

    trainer.forward_backward = recording
    return rates


# Files, evaluation, loading


def test_a_run_leaves_our_records_beside_the_hosts_files(build, tmp_path, capsys):
    trainer = build(PLUGGED[LossStep])
    trainer.train()
    run = tmp_path / "run"
    found = {path.name for path in run.iterdir()}
    assert found == {"tensorboard", "prompted", "kd_head", "config.json", "split.json", "mix.json", "results.json"}
    result = json.loads((run / "results.json").read_text())
    assert set(result["accuracy"]["test"]) == {"blend", "ce", "kd", "images"} and result["split"]["unlabelled"] == 40
    assert f"* accuracy: {result['accuracy']['test']['blend']:.1f}%" in capsys.readouterr().out
    assert "offset" in torch.load(run / "prompted" / "model.pth.tar-3", weights_only=True)["state_dict"]

    loaded = build(PLUGGED[LossStep], output="evaluated")
    loaded.load_model(str(run), epoch=3)
    assert loaded.test() == result["accuracy"]["test"]["blend"] and torch.equal(
        predictions(loaded), predictions(trainer)
    )


class OwnLoading(LossStep):
    """Loads as CoOp's family does: its registered models one by one, whatever fits."""

    def load_model(self, directory, epoch=None):
        for name in self.get_model_names():
            path = Path(directory) / name / f"model.pth.tar-{epoch}"
            self._models[name].load_state_dict(engine.load_checkpoint(str(path))["state_dict"], strict=False)
        self.loaded = self.get_model_names()


def test_the_hosts_own_load_model_sees_its_models_only(build, tmp_path):
    plugged = with_dho(OwnLoading)
    trainer = build(plugged)
    trainer.train()
    loaded = build(plugged, output="evaluated")
    loaded.load_model(str(tmp_path / "run"), epoch=3)
    assert loaded.loaded == ["prompted"] and equal(weights(trainer, "kd_head"), weights(loaded, "kd_head"))
    assert equal(weights(trainer), weights(loaded))
    # and the host loads what the plug-in wrote
    plain = build(alone(OwnLoading), output="plain")
    OwnLoading.load_model(plain, str(tmp_path / "run"), epoch=3)
    assert equal(weights(trainer), weights(plain))

    other = build(plugged, "DATASET.SUBSAMPLE_CLASSES", "base", output="half")
    with pytest.raises(
        ValueError, match="OwnLoading cannot load .* for the 3 classes of ImageNet: (?s:.*)size mismatch"
    ):
        other.load_model(str(tmp_path / "run"), epoch=3)
    with pytest.raises(FileNotFoundError, match=r"holds model.pth.tar-3"):
        loaded.load_model(str(tmp_path / "run"), epoch=2)
    # what the host alone has trained has no KD head
    shutil.rmtree(tmp_path / "run" / "kd_head")
    with pytest.raises(FileNotFoundError, match="has no folder of that model, only prompted"):
        loaded.load_model(str(tmp_path / "run"), epoch=3)
    host_only = build(plugged, *OFF, output="host_only")
    host_only.load_model(str(tmp_path / "run"), epoch=3)
    assert equal(weights(trainer), weights(host_only)) and not host_only.objective.has_head

    path = tmp_path / "run" / "prompted" / "model.pth.tar-3"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "state_dict": {"nothing": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="has nothing for Prompted"):
        host_only.load_model(str(tmp_path / "run"), epoch=3)


# What is refused


class InPlace(LossStep):
    """Put where the host was."""


def test_names(build):
    with pytest.raises(ValueError, match=r"LossStepDHO is registered already.*name="):
        with_dho(LossStep)
    assert with_dho(LossStep, name="Another").__name__ == "Another"
    engine.TRAINER_REGISTRY._do_register("InPlace", InPlace)
    plugged = with_dho(InPlace, name="InPlace")
    assert engine.TRAINER_REGISTRY.get("InPlace") is plugged and plugged.host is InPlace
    with pytest.raises(ValueError, match="InPlace is registered already"):
        with_dho(LossStep, name="InPlace")
    assert engine.TRAINER_REGISTRY.get("Another").host is LossStep
    with pytest.raises(ValueError, match="has the DHO pathway already"):
        with_dho(PLUGGED[LossStep], name="Twice")
    for wrong in (torch.nn.Module, "CoOp"):
        with pytest.raises(ValueError, match="extends TrainerX of the engine in use"):
            with_dho(wrong)


class Elsewhere(LossStep):
    def build_model(self):
        super().build_model()
        self.net, self.model = self.model, None

    def forward_backward(self, batch):
        self.model = self.net
        try:
            return super().forward_backward(batch)
        finally:
            self.model = None


def test_a_host_that_keeps_its_model_elsewhere_needs_an_adapter(build):
    with pytest.raises(ValueError, match=r"no module self\.model, where DHO looks for its model; pass with_dho\(Elsew"):
        build(with_dho(Elsewhere))
    plugged = with_dho(Elsewhere, Adapter(model="net", image_encoder="net.image_encoder"), name="ElsewhereDHO2")
    assert build(plugged).forward_backward is not None
    trainer = build(plugged, output="b")
    assert trainer.forward_backward(one_step(trainer))["loss_kd_u"] > 0
    wrong = with_dho(LossStep, Adapter(image_encoder="model"), name="WrongTower")
    trainer = build(wrong, output="c")
    with pytest.raises(ValueError, match="image tower of LossStep gives|was not called"):
        trainer.forward_backward(one_step(trainer))


class Detached(EngineStep):
    def host_loss(self, output, labels):
        return self.model.offset.sum() + 0 * output.detach().sum()


class Silent(EngineStep):
    def host_loss(self, output, labels):
        return F.cross_entropy(self.model.forward(self.images), labels)

    def parse_batch_train(self, batch):
        self.images, labels = super().parse_batch_train(batch)
        return self.images, labels


@pytest.mark.parametrize("host", [Detached, Silent])
def test_a_step_that_does_not_use_the_models_output_is_refused(build, host):
    plugged = with_dho(host)
    trainer = build(plugged)
    with pytest.raises(ValueError, match="did not back-propagate through the output of model"):
        trainer.forward_backward(one_step(trainer))


@pytest.mark.parametrize(
    ("key", "value"),
    [("TRAINER.DHO.OBJECTIVE", "ce_kd"), ("OPTIM.ACCUMULATE", 2), ("OPTIM.CLIP_NORM", 1.0), ("OPTIM.EMA", 0.9)]
    + [("TRAINER.DHO.HEAD", "nonlinear")],
)
def test_settings_of_our_own_trainers_are_refused(build, key, value):
    with pytest.raises(ValueError, match=f"{key} is .*{value}"):
        build(PLUGGED[LossStep], key, value)


def test_several_gpus_are_refused(build, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="2 GPUs are visible.*CUDA_VISIBLE_DEVICES"):
        build(PLUGGED[LossStep])


def test_a_model_in_data_parallel_is_refused(build):
    class Parallel(LossStep):
        def build_model(self):
            super().build_model()
            self.model = torch.nn.DataParallel(self.model)

    with pytest.raises(ValueError, match="DataParallel; DHO joins a step on one device only"):
        build(with_dho(Parallel, Adapter(image_encoder="model.module.image_encoder")))


@pytest.mark.parametrize(
    "transforms", ["('random_flip', 'normalize')", "('random_resized_crop', 'random_flip', 'normalize', 'cutout')"]
)
def test_transforms_that_cannot_be_shared_are_refused(build, transforms):
    with pytest.raises(ValueError, match="INPUT.TRANSFORMS"):
        build(PLUGGED[LossStep], "INPUT.TRANSFORMS", transforms)


def test_a_transform_of_the_hosts_own_is_compared_with_ours(build):
    crop = build(PLUGGED[LossStep]).crop
    trainer = build(alone(LossStep), output="plain")
    check_same_view(crop, trainer.train_loader_x.dataset.transform)
    for other in (None, lambda image: torch.zeros(3, 32, 32), trainer.test_loader.dataset.transform):
        with pytest.raises(ValueError, match="not a crop that student and teacher can share"):
            check_same_view(crop, other)


def test_our_configuration_is_asked_for(build):
    cfg = build(PLUGGED[LossStep]).cfg.clone()
    cfg.defrost()
    del cfg.TRAINER["DHO"]
    with pytest.raises(ValueError, match=r"call dho_prompt\.extend_cfg\(cfg\)"):
        PLUGGED[LossStep](cfg)


def test_a_host_that_calls_for_a_gpu_says_so(build):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")

    class NeedsGPU(LossStep):
        def build_model(self):
            super().build_model()
            self.model.offset.data = self.model.offset.data.cuda()

    with pytest.raises(ValueError, match="NeedsGPU moves tensors to a GPU in its own code"):
        build(with_dho(NeedsGPU))


def test_a_trainer_file_registers_once_under_both_its_names(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    first = importlib.import_module("dho_prompt.trainers.coop_dho").CoOpDHO
    for name in [name for name in sys.modules if name.split(".")[0] == "trainers"]:
        monkeypatch.delitem(sys.modules, name)
    second = importlib.import_module("trainers.coop_dho").CoOpDHO
    assert first is second is engine.TRAINER_REGISTRY.get("CoOpDHO")
    with pytest.raises(ValueError, match="registered already"):
        engine.register_trainer(type("CoOpDHO", (HostBase,), {}))


def test_repairs_last_as_long_as_the_method():
    namespace = {"__name__": "their_trainers", "__builtins__": __builtins__}
    theirs = type("theirs", (), {"__module__": "dassl.optim.lr_scheduler"})
    namespace.update(build_lr_scheduler=theirs, load_checkpoint="their own")
    exec("def build_model(self):\n    return build_lr_scheduler, load_checkpoint", namespace)
    host = type("Theirs", (object,), {"build_model": namespace["build_model"]})
    assert host().build_model() == (theirs, "their own")
    with pytest.raises(KeyError), repaired(host, "build_model"):
        assert host().build_model() == (engine.build_lr_scheduler, "their own")
        raise KeyError
    assert host().build_model() == (theirs, "their own")


def test_a_dassl_broken_by_another_library_names_the_versions_that_work():
    namespace = {"__name__": "dassl.optim.somewhere", "__builtins__": __builtins__}
    exec("def build(broken):\n    return broken.no_such_thing", namespace)
    words = r"Dassl breaks in dassl\.optim\.somewhere\.build under LossStep.*0\.6\.3"
    with pytest.raises(RuntimeError, match=words), dassl_may_break(LossStep):
        namespace["build"](torch)
    namespace["__name__"] = "their_data_sets.imagenet"
    with pytest.raises(AttributeError, match="no_such_thing"), dassl_may_break(LossStep):
        namespace["build"](torch)
    with pytest.raises(ValueError, match="their own words"), dassl_may_break(LossStep):
        raise ValueError("their own words")
