"""The image tower of a CLIP, trained in full; its text tower only gives heads their start."""

from __future__ import annotations

from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.students.clip import CLIPStudent


class TrainedCLIPStudent(CLIPStudent):
    """A CLIP whose image tower, with its projection, is trained (Sec. 4.1, low-shot ImageNet).

    Args:
        clip: the model in float32.

    Raises:
        ValueError: its weights have another precision; half a precision loses small updates.
    """

    def __init__(self, clip: LoadedCLIP) -> None:
        super().__init__(clip)
        if str(clip.dtype) != "torch.float32":
            raise ValueError(f"a trained tower needs float32 weights, these are {clip.dtype}; set PREC to fp32 or amp")
        self.backbone: nn.Module = clip.model.visual.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        return self.clip.encode_image(images)

    def trainable(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone}
