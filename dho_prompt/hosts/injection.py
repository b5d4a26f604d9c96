"""Adding a second loss to a training step that somebody else's code takes, through its own backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a module: its images, what came with them in the first argument, the others, what it returned.

    Attributes:
        images: the first argument, or the first part of it where it is a list or tuple (MMRL's towers take one).
        beside: None, or that list or tuple.
        args, kwargs: the other arguments.
        output: what the module returned.
    """

    images: Tensor
    beside: list | tuple | None
    args: tuple
    kwargs: dict
    output: Any

    def again(self, module: nn.Module, images: Tensor) -> Any:
        """What the module gives for other images, called in the same way."""
        images = images.to(self.images.device, self.images.dtype)
        first = images if self.beside is None else type(self.beside)([images, *self.beside[1:]])
        return module(first, *self.args, **self.kwargs)


class FeatureTap:
    """Keeps the first call of an image encoder, so that further images can be encoded the same way.

    Nothing stays on the encoder outside ``with tap:``.

    Args:
        encoder: a module that takes images as its first argument, or as the first part of it. What else it is given
            (prompts, for example) is kept with the call, with its place in the graph.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.call: Call | None = None

    def __enter__(self) -> FeatureTap:
        self.call = None
        self._handle = self.encoder.register_forward_hook(self._keep, with_kwargs=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._handle.remove()

    def _keep(self, encoder: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if self.call is None:
            beside = args[0] if args and isinstance(args[0], (list, tuple)) and args[0] else None
            images = args[0] if args and beside is None else beside[0] if beside else None
            if not isinstance(images, Tensor):
                raise ValueError(
                    f"{type(encoder).__name__} is called without images as its first argument, or as the first part of "
                    "it; write an adapter whose image_encoder names a module that is"
                )
            self.call = Call(images, beside, args[1:], kwargs, output)

    def encode(self, images: Tensor) -> Any:
        """The encoder's output for other images, with the further arguments of the call that was kept.

        Running statistics of batch normalisation stay those of the host's own calls.
        """
        with buffers_kept(self.encoder):
            return self.call.again(self.encoder, images)


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Let ``module`` run on copies of its batch normalisations' buffers; they come back as the objects they were."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training]
    kept = [dict(norm._buffers) for norm in norms]
    try:
        for norm in norms:  # a changed copy leaves alone what the host's graph has saved
            norm._buffers.update((key, value.clone()) for key, value in norm._buffers.items() if value is not None)
        yield
    finally:
        for norm, buffers in zip(norms, kept):
            norm._buffers.update(buffers)


@contextmanager
def outputs_changed(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """While inside, what ``module`` returns goes through ``change``."""
    handle = module.register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def add_loss(output: Any, loss: Tensor | None, output_weight: float, loss_weight: float, shared: bool = True) -> Any:
    """Make the backward pass of whatever is computed from ``output`` also that of ``loss``.

    The values are unchanged. When a gradient arrives at any of the tensors, it goes on multiplied by
    ``output_weight``, and once, whatever number of tensors it came through, ``loss`` receives the gradient
    ``loss_weight``. So for a scalar ``L`` computed from ``output`` alone, ``L.backward()`` back-propagates
    ``output_weight * L + loss_weight * loss``. In a further backward pass of the step (ProGrad compares two) ``loss``
    receives nothing more.

    Args:
        output: a tensor, or tuples, lists and dicts of tensors and other things.
        loss: a scalar; None only weights the output's gradients.
        output_weight, loss_weight: the two factors.
        shared: whether ``loss`` reaches weights that the output depends on too. What a host does with the gradients of
            several passes could then not be told from the gradient of ``loss``, so a second pass is refused.

    Returns:
        ``output`` with each floating-point tensor that needs a gradient replaced by an equal one.

    Raises:
        ValueError: no tensor in it needs a gradient.
    """
    found: list[Tensor] = []
    _map(output, lambda tensor: found.append(tensor) or tensor)
    if not found:
        raise ValueError(
            f"the model returned {_describe(output)} in a training step, in which no tensor needs a gradient; DHO "
            "cannot join a step that does not back-propagate through the model's output"
        )
    replaced = iter(_Weighted.apply(loss, output_weight, loss_weight, shared, *found))
    return _map(output, lambda tensor: next(replaced))


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: Tensor | None, output_weight: float, loss_weight: float, shared: bool, *outputs: Tensor
    ) -> tuple:
        ctx.set_materialize_grads(False)
        ctx.like = None if loss is None else loss.new_empty(())
        ctx.weights, ctx.shared, ctx.joined = (output_weight, loss_weight), shared, False
        return tuple(output.clone() for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple:
        output_weight, loss_weight = ctx.weights
        if ctx.joined and ctx.shared:
            raise ValueError(
                "the host's step back-propagates through its model's output more than once, and the KD loss trains "
                "weights of that model too, so that the host would take the gradient of the KD loss for one of its "
                "own; such a host fits only where its image tower is frozen"
            )
        to_loss = None if ctx.like is None or ctx.joined else torch.full_like(ctx.like, loss_weight)
        ctx.joined = ctx.like is not None
        to_outputs = (None if gradient is None else output_weight * gradient for gradient in gradients)
        return (to_loss, None, None, None, *to_outputs)


def _map(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, Tensor):
        return change(output) if output.requires_grad and output.is_floating_point() else output
    if isinstance(output, dict):
        return type(output)((key, _map(value, change)) for key, value in output.items())
    if isinstance(output, (tuple, list)):
        parts = [_map(value, change) for value in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output


def _describe(output: Any) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
