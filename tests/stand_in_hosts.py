"""Small trainers in the manner of the CoOp family, each taking its step another way; they know nothing of DHO."""

import torch
from torch import nn
from torch.nn import functional as F

from dho_prompt.clip.loading import load_clip
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.engine import TrainerX, build_lr_scheduler, build_optimizer


class Tower(nn.Module):
    """An image tower with a prompt as a further argument, as MaPLe's."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual

    def forward(self, images, shift=None, gain=None):
        features = self.visual(images)
        return features if shift is None else features * gain + shift


class Prompted(nn.Module):
    """Logits from image features and learned text features; ``returns`` says what training gets."""

    def __init__(self, clip, texts, returns, vision):
        super().__init__()
        self.image_encoder = Tower(clip.model.visual)
        self.register_buffer("texts", texts)
        self.offset = nn.Parameter(torch.zeros(texts.shape[1]))
        self.shift = nn.Parameter(torch.full((texts.shape[1],), 0.1)) if vision else None
        self.returns = returns

    def forward(self, images, labels=None):
        more = () if self.shift is None else (self.shift,)
        named = {} if self.shift is None else {"gain": 1.5}
        image_features = F.normalize(self.image_encoder(images, *more, **named), dim=-1)
        text_features = F.normalize(self.texts + self.offset, dim=-1)
        logits = 10 * image_features @ text_features.t()
        if self.training and self.returns == "loss":
            return F.cross_entropy(logits, labels)
        if self.training and self.returns == "tuple":
            return F.cross_entropy(logits, labels), text_features, None, image_features, logits
        return logits


class HostBase(TrainerX):
    returns, vision = "logits", False

    def build_model(self):
        clip = load_clip(self.cfg.MODEL.BACKBONE.NAME, "", "fp32", self.device)
        texts = class_text_features(clip, self.dm.dataset.classnames, ["a photo of a {}."])
        self.model = Prompted(clip, texts, self.returns, self.vision).to(self.device)
        if self.vision:
            self.model.image_encoder.visual.proj.requires_grad_(True)
        self.optim = build_optimizer([p for p in self.model.parameters() if p.requires_grad], self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompted", self.model, self.optim, self.sched)
        self.scaler = None

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def end_of_epoch(self):
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()


class EngineStep(HostBase):
    """(a) CoOp's way: the engine zeroes, back-propagates and updates all that is registered."""

    def forward_backward(self, batch):
        images, labels = self.parse_batch_train(batch)
        loss = self.host_loss(self.model(images), labels)
        self.model_backward_and_update(loss)
        self.end_of_epoch()
        return {"loss": loss.item()}

    def host_loss(self, output, labels):
        return F.cross_entropy(output, labels)


class FakeScaler:
    """What GradScaler does on a GPU, on the CPU."""

    def __init__(self):
        self.factor, self.poison = 1024.0, False

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.factor

    def scale(self, loss):
        return loss * (float("inf") if self.poison else self.factor)

    def step(self, optimizer):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for gradient in gradients:
            gradient.div_(self.factor)
        if all(torch.isfinite(gradient).all() for gradient in gradients):
            optimizer.step()

    def update(self):
        self.factor = max(self.factor / 2, 64.0)

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]


class ScaledStep(HostBase):
    """(b) The AMP branch of the family: its own optimiser only, through a scaler."""

    def build_model(self):
        super().build_model()
        self.scaler = FakeScaler()

    def forward_backward(self, batch):
        images, labels = self.parse_batch_train(batch)
        loss = self.host_loss(self.model(images), labels)
        self.optim.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optim)
        self.scaler.update()
        self.end_of_epoch()
        return {"loss": loss.item()}

    host_loss = EngineStep.host_loss


class LossStep(HostBase):
    """(c) CoCoOp's way: the model gives the loss, the trainer steps its own optimiser."""

    returns = "loss"

    def forward_backward(self, batch):
        images, labels = self.parse_batch_train(batch)
        loss = self.host_loss(self.model(images, labels), labels)
        self.optim.zero_grad()
        loss.backward()
        self.optim.step()
        self.end_of_epoch()
        return {"loss": loss.item()}

    def host_loss(self, output, labels):
        return output


class TupleStep(LossStep):
    """(d) PromptSRC's way: a loss from several outputs, and weights averaged over the epochs."""

    returns = "tuple"

    def build_model(self):
        super().build_model()
        self.average, self.count = None, 0

    def host_loss(self, output, labels):
        loss, text_features, nothing, image_features, logits = output
        assert nothing is None
        return loss + 3 * text_features.abs().mean() + 0.01 * logits.square().mean()

    def forward_backward(self, batch):
        summary = super().forward_backward(batch)
        if self.batch_idx + 1 == self.num_batches:
            self.count += 1
            offset = self.model.offset.detach().clone()
            self.average = {"offset": offset} if self.average is None else {"offset": self.average["offset"] + offset}
            if self.count == self.max_epoch:
                self.model.offset.data.copy_(self.average["offset"] / self.count)
        return summary


class TowerStep(LossStep):
    """(e) VPT's and MaPLe's way: the image tower is trained, and takes prompts as arguments."""

    vision = True


HOSTS = (EngineStep, ScaledStep, LossStep, TupleStep, TowerStep)
