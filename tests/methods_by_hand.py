"""Each method's prediction and losses, and the DHO objective on top, from the tensors that the method trains."""

from typing import NamedTuple

import torch

import by_hand
from tests_support import CLASSES

NAMES = list(CLASSES.values())
TEMPLATES = ["a photo of a {}.", "art of the {}."]  # of the teacher, and of heads that start from text
OWN_TEMPLATES = ["{}", "the {} there", "a {}."]  # of PromptSRC's frozen text features
DEEP = "transformer.resblocks.1.VPT_shallow"


class CoOp:
    def __init__(self, class_specific=False, position="end"):
        self.name, self.options = "CoOp", {"COOP.N_CTX": 3, "COOP.PREC": "fp32", "COOP.CSC": class_specific}
        self.options["COOP.CLASS_TOKEN_POSITION"] = position
        self.behind = {"end": 0, "middle": 2, "front": 3}[position]

    def features(self, clip, weights, images):
        return by_hand.image_features(clip, images)

    def logits(self, clip, weights, features):
        texts = by_hand.prompted_texts(clip, NAMES, "X X X", weights["prompt_learner/ctx"], (), self.behind)
        return by_hand.cosine(features, texts, clip.zeta)

    def extra(self, clip, weights, images, features, logits):
        """What is added to the cross-entropy, by name."""
        return {}


class PromptSRC(CoOp):
    def __init__(self):
        self.name = "PromptSRC"
        self.options = {
            "PROMPTSRC.PREC": "fp32", "PROMPTSRC.TEMPLATES": tuple(OWN_TEMPLATES), "PROMPTSRC.N_CTX_TEXT": 2,
            "PROMPTSRC.N_CTX_VISION": 3, "PROMPTSRC.PROMPT_DEPTH_TEXT": 2, "PROMPTSRC.PROMPT_DEPTH_VISION": 2,
            "PROMPTSRC.TEXT_LOSS_WEIGHT": 7, "PROMPTSRC.IMAGE_LOSS_WEIGHT": 3,
        }  # fmt: skip

    def texts(self, clip, weights):
        prompts = [weights[f"VLPromptLearner/{key}"] for key in ("prompt_learner.ctx", f"text_encoder.{DEEP}")]
        return by_hand.prompted_texts(clip, NAMES, "a photo of a", prompts[0], prompts[1:])  # "of a" stay words

    def features(self, clip, weights, images):
        prompts = [weights[f"VLPromptLearner/image_encoder.{key}"] for key in ("VPT", DEEP)]
        return by_hand.image_features(clip, images, prompts)

    def logits(self, clip, weights, features):
        return by_hand.cosine(features, self.texts(clip, weights), clip.zeta)

    def extra(self, clip, weights, images, features, logits):
        texts, frozen = self.texts(clip, weights), by_hand.image_features(clip, images)
        frozen_texts = by_hand.template_texts(clip, NAMES, OWN_TEMPLATES, unit_each=False)
        frozen_logits = by_hand.cosine(frozen, frozen_texts, clip.zeta)
        return by_hand.self_regularisation(texts, features, logits, frozen_texts, frozen, frozen_logits, (7, 3))


class LinearProbe(CoOp):
    node, name = "LINEAR_PROBE", "LinearProbe"

    def __init__(self, head, start="language"):
        self.head, self.start = head, start
        self.options = {f"{self.node}.PREC": "fp32", f"{self.node}.HEAD": head}
        if head != "text":
            self.options[f"{self.node}.HEAD_INIT"] = start

    def logits(self, clip, weights, features):
        if self.head == "linear":
            return by_hand.linear(features, weights["ce_head/weight"], weights["ce_head/bias"])
        if self.head == "cosine":
            return by_hand.cosine(features, weights["ce_head/weight"], clip.zeta)
        texts = by_hand.template_texts(clip, NAMES, ["the photo {}."])  # fixed: the zero-shot classifier
        return by_hand.cosine(features, texts, clip.zeta)


class VPT(LinearProbe):
    node, name = "VPT", "VPT"

    def __init__(self, head, start="language"):
        super().__init__(head, start)
        self.options.update({"VPT.N_CTX_VISION": 3, "VPT.PROMPT_DEPTH_VISION": 2, "VPT.CTX_INIT": "the photo"})

    def features(self, clip, weights, images):
        prompts = [weights[f"prompt_learner/image_encoder.{key}"] for key in ("VPT", DEEP)]
        return by_hand.image_features(clip, images, prompts)


class Objective(NamedTuple):
    """DHO's settings. ``zeta`` is the teacher's and the cosine KD head's."""

    lam: float
    eta: float
    zeta: float
    squared: bool = True
    head: str = "cosine"


def kd_logits(objective, weights, features):
    if objective.head == "linear":
        return by_hand.linear(features, weights["kd_head/weight"], weights["kd_head/bias"])
    return by_hand.cosine(features, weights["kd_head/weight"], objective.zeta)


def zero_shot_logits(teacher, images, zeta):
    """Eq. 1 before its softmax."""
    return by_hand.cosine(by_hand.image_features(teacher, images), teacher_texts(teacher), zeta)


def teacher_texts(teacher):
    return by_hand.template_texts(teacher, NAMES, TEMPLATES)


def plain_terms(method, clip, weights, batch):
    """Everything that the step of a method alone logs; ``loss`` is differentiated."""
    features = method.features(clip, weights, batch["img"])
    logits = method.logits(clip, weights, features)
    extra = method.extra(clip, weights, batch["img"], features, logits)
    ce = by_hand.cross_entropy(logits, batch["label"])
    return {"loss": ce + sum(extra.values()), **extra, "acc": by_hand.percent_right(logits, batch["label"])}


def dho_terms(method, clip, weights, batch, objective, teach):
    """Everything that a step with DHO logs (Algorithm 1, lines 7 to 24); ``loss`` is differentiated.

    ``teach``: images in the teacher's view -> its logits.
    """
    plain = plain_terms(method, clip, weights, batch)
    kd = {}
    for key, suffix in (("x", ""), ("u", "_u")):
        if f"img{suffix}" not in batch:
            kd[key] = torch.zeros((), dtype=torch.float64)
            continue
        student = kd_logits(objective, weights, method.features(clip, weights, batch[f"img{suffix}"]))
        kd[key] = by_hand.kl(teach(batch[f"img_teacher{suffix}"]), student, objective.eta, objective.squared)
    total = objective.lam * plain["loss"] + (1 - objective.lam) * (kd["x"] + kd["u"])
    return {**plain, "loss": total, "loss_ce": plain["loss"], "loss_kd_x": kd["x"], "loss_kd_u": kd["u"]}
