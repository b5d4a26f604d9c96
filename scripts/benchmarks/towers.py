"""Random-weight CLIPs of real sizes, and class names. Neither time nor memory depends on the weights."""

from __future__ import annotations

import open_clip
import torch
from torch import nn

from dho_prompt.clip.loading import LoadedCLIP

NAMES = """
goldfish; great white shark; hammerhead shark; rooster; ostrich; American robin; bald eagle; great grey owl;
fire salamander; smooth newt; tree frog; leatherback sea turtle; box turtle; green iguana; Komodo dragon;
Nile crocodile; eastern hog-nosed snake; king cobra; scorpion; tarantula; centipede; peafowl; African grey parrot;
sulphur-crested cockatoo; hummingbird; toucan; black swan; koala; jellyfish; sea anemone; snail; hermit crab;
flamingo; American coot; king penguin; grey whale; sea lion; Chihuahua; Yorkshire Terrier; golden retriever;
German Shepherd Dog; Siberian Husky; red wolf; Arctic fox; tabby cat; snow leopard; lion; polar bear; meerkat;
ladybug; dung beetle; praying mantis; monarch butterfly; starfish; porcupine; guinea pig; zebra; warthog;
hippopotamus; bighorn sheep; Arabian camel; giant panda; chimpanzee; accordion; airliner; ambulance; analog clock;
backpack; barber chair; barn; baseball player; bell tower; bicycle; bookcase; bow tie; cassette player; chain saw;
coffee mug; computer keyboard; desktop computer; dishwasher; electric guitar; espresso machine; fire truck;
garbage truck; grand piano; hair dryer; harmonica; hot air balloon; iPod; lighthouse; mobile phone; mountain bike;
parachute; pickup truck; school bus; soccer ball; steam locomotive; tennis ball; washing machine
"""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SMALL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}
SMALL_IMAGE = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8}


def class_names(classes: int) -> list[str]:
    """As many names as asked for; they repeat beyond a hundred."""
    names = [name.strip() for name in NAMES.replace("\n", " ").split(";")]
    return [names[i % len(names)] for i in range(classes)]


def random_clip(
    name: str, device: torch.device, small: bool = False, text: bool = True, image: bool = True
) -> LoadedCLIP:
    """A frozen CLIP with OpenAI's activation.

    Args:
        name: of open_clip, e.g. ``ViT-B-16-quickgelu``.
        small: towers of three narrow blocks instead, to try the benchmarks themselves.
        text, image: False leaves that tower a token one, which is never run.
    """
    config = open_clip.get_model_config(name)
    texts = SMALL_TEXT if small else config["text_cfg"]
    images = SMALL_IMAGE if small else config["vision_cfg"]
    if not text:
        texts = {**SMALL_TEXT, "context_length": 8, "vocab_size": 16}
    if not image:
        images = SMALL_IMAGE
    model: nn.Module = open_clip.CLIP(config["embed_dim"], images, texts, quick_gelu=True)
    model = model.to(device).eval().requires_grad_(False)
    size = images["image_size"]
    tokenizer = open_clip.SimpleTokenizer()
    return LoadedCLIP(model, tokenizer, name, "random", size, MEAN, STD, config["embed_dim"], 100.0)
