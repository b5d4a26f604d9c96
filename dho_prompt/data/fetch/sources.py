"""Where each data set comes from: addresses, checksums, licences, and what has to be done by hand.

The addresses and MD5 sums of the images are torchvision's, except FGVC-Aircraft's sum, which torchvision does not have:
several public loaders agree on it. The split files are on CoOp's Google Drive.
"""

from __future__ import annotations

from typing import NamedTuple

DRIVE = "drive:"  # an address of this form is the id of a file on Google Drive
CLASSNAMES = f"{DRIVE}1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF"


class Download(NamedTuple):
    """One file to fetch.

    Args:
        address: https://... or ``drive:<id>``.
        name: of the file.
        md5: of the file; "" where none is known.
        moves: for an archive, ``(path in the archive, path in the data set's folder)``; () for a file that is kept.
        inner: an archive within the archive, which holds the paths of ``moves``.
    """

    address: str
    name: str
    md5: str = ""
    moves: tuple[tuple[str, str], ...] = ()
    inner: str = ""

    @property
    def page(self) -> str:
        """The address for a browser."""
        if self.address.startswith(DRIVE):
            return f"https://drive.google.com/file/d/{self.address[len(DRIVE) :]}/view"
        return self.address


class Source(NamedTuple):
    """What a data set is made of.

    Args:
        licence: terms of use, and the official page.
        downloads: what may be fetched.
        manual: what has to be done by hand; "" if nothing.
    """

    licence: str
    downloads: tuple[Download, ...] = ()
    manual: str = ""


def _split(name: str, drive_id: str) -> Download:
    return Download(DRIVE + drive_id, f"split_zhou_{name}.json")


_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_AIRCRAFT = "fgvc-aircraft-2013b/data"
_AIRCRAFT_FILES = ("images", "variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test")))
_NAMES = Download(CLASSNAMES, "classnames.txt")

SOURCES: dict[str, Source] = {
    "Caltech101": Source(
        "CC BY 4.0, https://data.caltech.edu/records/mzrjq-6wc02",
        (
            Download(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                (("101_ObjectCategories", "101_ObjectCategories"),),
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
            _split("Caltech101", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"),
        ),
    ),
    "OxfordPets": Source(
        f"CC BY-SA 4.0, {_VGG}/pets/",
        (
            Download(
                f"{_VGG}/pets/data/images.tar.gz",
                "images.tar.gz",
                "5c4f3ee8e5d25df40f4fd59a7f44e54c",
                (("images", "images"),),
            ),
            Download(
                f"{_VGG}/pets/data/annotations.tar.gz",
                "annotations.tar.gz",
                "95a8c909bbe2e81eed6a22bccdf3f68f",
                (("annotations", "annotations"),),
            ),
            _split("OxfordPets", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"),
        ),
    ),
    "StanfordCars": Source(
        "for research, not commercial; https://ai.stanford.edu/~jkrause/cars/car_dataset.html (no longer served)",
        (_split("StanfordCars", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"),),
        "The official images are no longer served, and torchvision cannot fetch them either. Take cars_train.tgz and "
        "cars_test.tgz from a copy you trust (torchvision's documentation of StanfordCars and pytorch/vision#7545 name "
        "one) and unpack them so that stanford_cars/cars_train/*.jpg and stanford_cars/cars_test/*.jpg exist.",
    ),
    "OxfordFlowers": Source(
        f"none stated, {_VGG}/flowers/102/",
        (
            Download(
                f"{_VGG}/flowers/102/102flowers.tgz",
                "102flowers.tgz",
                "52808999861908f626f3c1f4e79d11fa",
                (("jpg", "jpg"),),
            ),
            _split("OxfordFlowers", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT"),
        ),
    ),
    "Food101": Source(
        "the pictures are their owners'; scientific fair use, https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        (
            Download(
                "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "food-101.tar.gz",
                "85eeb15f3717b99a5da872d97d918f87",
                (("food-101/images", "images"), ("food-101/meta", "meta")),
            ),
            _split("Food101", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"),
        ),
    ),
    "FGVCAircraft": Source(
        f"for research, not commercial; {_VGG}/fgvc-aircraft/",
        (
            Download(
                f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "fgvc-aircraft-2013b.tar.gz",
                "d4acdd33327262359767eeaa97a4f732",
                tuple((f"{_AIRCRAFT}/{name}", name) for name in _AIRCRAFT_FILES),
            ),
        ),
    ),
    "SUN397": Source(
        "none stated, https://vision.princeton.edu/projects/2010/SUN/",
        (
            Download(
                "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                "SUN397.tar.gz",
                "8ca2778205c41d23104230ba66911c7a",
                (("SUN397", "SUN397"),),
            ),
            _split("SUN397", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"),
        ),
    ),
    "DescribableTextures": Source(
        f"for research, {_VGG}/dtd/",
        (
            Download(
                f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz",
                "dtd-r1.0.1.tar.gz",
                "fff73e5086ae6bdbea199a49dfb8a4c1",
                (("dtd/images", "images"), ("dtd/labels", "labels")),
            ),
            _split("DescribableTextures", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"),
        ),
    ),
    "EuroSAT": Source(
        "MIT, https://github.com/phelber/EuroSAT",
        (
            Download(
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                "EuroSAT.zip",
                "c8fa014336c82ac7804f0398fcb19387",
                (("2750", "2750"),),
            ),
            _split("EuroSAT", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"),
        ),
    ),
    "UCF101": Source(
        "none stated, https://www.crcv.ucf.edu/data/UCF101.php",
        (
            Download(
                f"{DRIVE}10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O",
                "UCF-101-midframes.zip",
                moves=(("UCF-101-midframes", "UCF-101-midframes"),),
            ),
            _split("UCF101", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"),
        ),
    ),
    "ImageNet": Source(
        "for research, after registration; https://image-net.org/download.php",
        (_NAMES,),
        "Log in at https://image-net.org/download.php, fetch the images of ILSVRC2012 (train 138 GB, validation 6 GB) "
        "and unpack them so that imagenet/images/train/<wnid>/*.JPEG and imagenet/images/val/<wnid>/*.JPEG exist: each "
        "class's tar of the training archive into the folder of its wnid, each validation image into the folder of its "
        "class (the script valprep.sh of soumith's imagenetloader.torch does it).",
    ),
    "ImageNetV2": Source(
        "MIT (code and list; the pictures are their owners'), https://github.com/modestyachts/ImageNetV2",
        (_NAMES,),
        "Fetch imagenetv2-matched-frequency.tar.gz, for which https://github.com/modestyachts/ImageNetV2 gives the "
        "address, and unpack it in imagenetv2/, so that "
        "imagenetv2/imagenetv2-matched-frequency-format-val/0 to .../999 exist.",
    ),
    "ImageNetSketch": Source(
        "see https://github.com/HaohanWang/ImageNet-Sketch",
        (_NAMES,),
        "Fetch the images by the link at https://github.com/HaohanWang/ImageNet-Sketch and unpack them so that "
        "imagenet-sketch/images/<wnid>/*.JPEG exist (the archive's own folder is named sketch: rename it to images).",
    ),
    "ImageNetA": Source(
        "see https://github.com/hendrycks/natural-adv-examples",
        (_NAMES,),
        "Fetch imagenet-a.tar by the link at https://github.com/hendrycks/natural-adv-examples and unpack it in "
        "imagenet-adversarial/, so that imagenet-adversarial/imagenet-a/<wnid>/*.jpg exist.",
    ),
    "ImageNetR": Source(
        "see https://github.com/hendrycks/imagenet-r",
        (_NAMES,),
        "Fetch imagenet-r.tar by the link at https://github.com/hendrycks/imagenet-r and unpack it in "
        "imagenet-rendition/, so that imagenet-rendition/imagenet-r/<wnid>/*.jpg exist.",
    ),
}
