"""Faults in losses, heads, inference, averaging and schedules."""

from .fault import in_file

STEPS = "tests/trainers/test_steps.py"
MIXES = "tests/runs/test_inference_by_hand.py"

LOSSES = in_file(
    "dho_prompt/losses.py",
    ("tests/test_losses.py", STEPS),
    ("KL the other way round", "F.kl_div(student, teacher, reduction", "F.kl_div(teacher, student, reduction"),
    ("mean over classes too", '"batchmean"', '"mean"'),
    ("student not softened", "(_at_least_float32(student_logits) / temperature", "(_at_least_float32(student_logits)"),
    (
        "teacher not softened",
        "(_at_least_float32(teacher_logits.detach()) / temperature",
        "(_at_least_float32(teacher_logits.detach())",
    ),
    ("eta for its square", "divergence * temperature**2 if", "divergence * temperature if"),
    ("scaling switched the wrong way", "**2 if scale_by_temperature", "**2 if not scale_by_temperature"),
    ("scaling cannot be switched off", "self.temperature, self.scale_by_temperature)", "self.temperature, True)"),
    ("TEMPERATURE ignored in the loss", "self.temperature, self.scale_by_temperature)", "2.0, self.scale_by_temperature)"),
    ("gradient into the teacher", "teacher_logits.detach()", "teacher_logits"),
    ("empty batch gives no number", "if len(student_logits) == 0:", "if len(student_logits) < 0:"),
    ("lambda on the wrong side", "self.lam * ce + (1 - self.lam) *", "(1 - self.lam) * ce + self.lam *"),
    ("unlabelled term left out", "(1 - self.lam) * (kd_x + kd_u)", "(1 - self.lam) * kd_x"),
    ("labelled term left out", "(1 - self.lam) * (kd_x + kd_u)", "(1 - self.lam) * kd_u"),
    ("terms returned in another order", "ce, kd_x, kd_u)", "ce, kd_u, kd_x)"),
    ("wrong teacher rows on labelled images", "self._kd(kd_logits_x, teacher_logits_x)", "self._kd(kd_logits_x, teacher_logits_x.flip(0))"),
    ("wrong teacher rows on unlabelled images", "self._kd(kd_logits_u, teacher_logits_u)", "self._kd(kd_logits_u, teacher_logits_u.roll(1, 0))"),
    ("host's own loss left out", "ce = ce + extra", "ce = ce + 0 * extra"),
    ("smoothed labels", "F.cross_entropy(_at_least_float32(ce_logits), labels)", "F.cross_entropy(_at_least_float32(ce_logits), labels, label_smoothing=0.1)"),
    ("lambda over 1 allowed", "if not 0 <= lam <= 1:", "if not 0 <= lam:"),
    ("loss in half precision", "return logits if logits.dtype == torch.float64 else logits.float()", "return logits"),
    ("text weight on the image term", "image_weight * F.l1_loss(prompted[1]", "text_weight * F.l1_loss(prompted[1]"),
    ("squared distance of text features", "text_weight * F.l1_loss(", "text_weight * F.mse_loss("),
    ("divergence per image, not per entry", "divergence / logits.numel()", "divergence / len(logits)"),
    ("gradient into the frozen features", "_unit(features.detach())", "_unit(features)"),
    ("features compared at their own length", "return F.normalize(_at_least_float32(features), dim=-1)", "return _at_least_float32(features)"),
    ("frozen distribution over the batch", "(frozen_logits.detach()), dim=1)", "(frozen_logits.detach()), dim=0)"),
)  # fmt: skip

HEADS = in_file(
    "dho_prompt/heads.py",
    ("tests/test_heads.py", "tests/methods/test_linear_probe.py", STEPS),
    ("zeta multiplies", ".t() / self.zeta", ".t() * self.zeta"),
    ("zeta ignored by the head", "torch.tensor(float(zeta)", "torch.tensor(float(0.01)"),
    ("weights not normalised", "features @ F.normalize(self.weight, dim=-1).t()", "features @ self.weight.t()"),
    ("features not normalised", "F.normalize(features.to(self.weight.dtype), dim=-1)", "features.to(self.weight.dtype)"),
    ("half-precision features not taken", "super().forward(features.to(self.weight.dtype))", "super().forward(features)"),
    ("head of the other kind", "num_classes, zeta) if cosine else LinearHead", "num_classes, zeta) if not cosine else LinearHead"),
    ("text start not taken", "head.weight.copy_(text_features)", "head.weight.copy_(head.weight)"),
    ("bias kept from noise", "head.bias.zero_()", "head.bias.abs_()"),
    ("HEAD_INIT ignored, always language", '.float() if start == "language" else None', ".float()"),
    ("HEAD_INIT ignored, never language", 'if start == "language" else None', "if False else None"),
    ("HEAD ignored", 'kind == "cosine", zeta or', "True, zeta or"),
    ("own zeta for the given one", "zeta or 1 / clip.logit_scale", "1 / clip.logit_scale"),
    ("scale for its inverse", "zeta or 1 / clip.logit_scale", "zeta or clip.logit_scale"),
    ("zeta of 0 allowed", "if not zeta > 0:", "if not zeta >= 0:"),
    ("text features of another shape", "if text_features.shape != head.weight.shape:", "if len(text_features) != len(head.weight):"),
)  # fmt: skip

SAVED_ZETA = in_file(
    "dho_prompt/heads.py",
    (MIXES,),
    ("zeta not saved with the head", "dtype=torch.float64))  # belongs", "dtype=torch.float64), persistent=False)  # belongs"),
)  # fmt: skip

INFERENCE = in_file(
    "dho_prompt/inference.py",
    ("tests/test_inference.py", MIXES),
    (
        "CE and KD swapped in the mix",
        "return alpha * probabilities(ce_logits) + (1 - alpha) * probabilities(kd_logits / beta)",
        "return (1 - alpha) * probabilities(ce_logits) + alpha * probabilities(kd_logits / beta)",
    ),
    ("beta ignored in the mix", "(1 - alpha) * probabilities(kd_logits / beta)", "(1 - alpha) * probabilities(kd_logits)"),
    ("beta multiplies", "(1 - alpha) * probabilities(kd_logits / beta)", "(1 - alpha) * probabilities(kd_logits * beta)"),
    ("beta on the wrong head", "return alpha * probabilities(ce_logits)", "return alpha * probabilities(ce_logits / beta)"),
    ("classes gathered in order for one head", "ce_logits[:, classes], kd_logits[:, classes]", "ce_logits[:, classes], kd_logits[:, classes.sort().values]"),
    ("the search ignores beta", "kd_probabilities = probabilities(kd_logits / beta)", "kd_probabilities = probabilities(kd_logits)"),
    ("the search swaps the heads", "(alpha * ce_probabilities + (1 - alpha) * kd_probabilities)", "((1 - alpha) * ce_probabilities + alpha * kd_probabilities)"),
    ("the search takes the worst", "key = (-correct,", "key = (correct,"),
    ("ties go to alpha 1", "round(abs(alpha - 0.5), 6)", "round(abs(alpha - 1), 6)"),
    ("ties go to the smallest beta", "max(beta, 1 / beta), alpha", "beta, alpha"),
    ("accuracy as a count", "correct / len(labels)", "correct"),
    ("alpha 1 not in the grid", "range(21)", "range(20)"),
    ("largest beta not in the grid", "2.0, 4.0)", "2.0)"),
    ("softmax in half precision", "torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)", "torch.softmax(logits, dim=-1)"),
    ("alpha over 1 allowed", "if not 0 <= alpha <= 1:", "if not 0 <= alpha:"),
)  # fmt: skip

AVERAGING = in_file(
    "dho_prompt/methods/averaging.py",
    ("tests/methods/test_averaging.py",),
    ("epochs count from 0", "torch.arange(1, epochs + 1,", "torch.arange(0, epochs,"),
    ("another width", "-0.5 * ((epoch - mean)", "-1.0 * ((epoch - mean)"),
    ("weight of the first epoch for all", "factor = self.weights[self.epochs_done]", "factor = self.weights[0]"),
    ("last epoch alone", "self._sum[name].to(weight.device) + part if", "part if"),
    ("sum not restored", 'state["epochs_done"], dict(state["sum"])', 'state["epochs_done"], {}'),
    ("what is frozen is averaged", "if weight.requires_grad}", "if True}"),
)  # fmt: skip

SCHEDULES = in_file(
    "dho_prompt/schedules.py",
    ("tests/test_schedules.py", "tests/methods/test_linear_probe.py"),
    ("warm-up from 0", "base_lr * (iteration + 1) / warmup_steps", "base_lr * iteration / warmup_steps"),
    ("no end at 0", "position / (total_steps - warmup_steps)", "position / total_steps"),
    ("a whole cosine", "math.cos(math.pi * min(", "math.cos(2 * math.pi * min("),
    ("warm-up as long as the run allowed", "0 <= warmup_steps < total_steps", "0 <= warmup_steps <= total_steps"),
)

FAULTS = (*LOSSES, *HEADS, *SAVED_ZETA, *INFERENCE, *AVERAGING, *SCHEDULES)
