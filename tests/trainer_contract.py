"""All that the hand-written tests touch of a trainer: Dassl's contract, in one place."""

import torch

from dho_prompt.train import parser, setup_cfg, start


def build(arguments):
    """The trainer of a command line, not trained."""
    return start(setup_cfg(parser().parse_args(list(map(str, arguments)))))


def first_batches(trainer, count):
    """Begin training and draw the first epoch's batches, their images as the models take them."""
    trainer.before_train()
    trainer.set_model_mode("train")
    trainer.epoch = 0
    batches = [batch for batch, _ in zip(trainer.train_loader_x, range(count))]
    assert len(batches) == count
    views = {f"{key}{end}": view for key, view in trainer.crop.views.items() for end in ("", "_u")}
    finish = lambda key, value: trainer.crop.finished(value, views[key]) if key in views else value  # noqa: E731
    return [{key: finish(key, value) for key, value in batch.items()} for batch in batches]


def weights_of(trainer):
    """``model/key`` -> float64 copy of every registered tensor that is trained."""
    return {
        f"{name}/{key}": value.detach().double().clone()
        for name in trainer.get_model_names()
        for key, value in trainer._models[name].named_parameters()
        if value.requires_grad
    }


def rates_of(trainer):
    """Registered model -> learning rate."""
    return {name: trainer._optims[name].param_groups[0]["lr"] for name in trainer.get_model_names()}


def rates_during(trainer):
    """Registered model -> the learning rates of its steps from now on, as they are taken."""
    rates = {name: [] for name in trainer.get_model_names()}
    for name, found in rates.items():
        keep = lambda optimizer, *_, found=found: found.append(optimizer.param_groups[0]["lr"])  # noqa: E731
        trainer._optims[name].register_step_pre_hook(keep)
    return rates


def state_of(trainer, name):
    """What a checkpoint of a registered model holds."""
    return trainer._models[name].state_dict()


def take_step(trainer, batch, index, count):
    """Batch ``index`` of ``count`` in an epoch.

    Returns what is logged, and the gradients (float64, by ``model/key``) that the optimisers worked with.
    """
    trainer.batch_idx, trainer.num_batches = index, count
    gradients = {}

    def keep(name):
        def hook(optimizer, *_):
            for key, value in trainer._models[name].named_parameters():
                if value.requires_grad:
                    assert f"{name}/{key}" not in gradients, "a second step"
                    zero = torch.zeros_like(value)
                    gradients[f"{name}/{key}"] = (zero if value.grad is None else value.grad).double().clone()

        return hook

    hooks = [trainer._optims[name].register_step_pre_hook(keep(name)) for name in trainer.get_model_names()]
    summary = trainer.forward_backward(batch)
    for hook in hooks:
        hook.remove()
    return summary, gradients
