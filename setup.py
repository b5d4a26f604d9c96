import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="dho-prompt",
    version=re.search(r'__version__ = "(.*)"', (HERE / "dho_prompt" / "__init__.py").read_text()).group(1),
    description="Dual-Head Optimization (DHO) for CLIP prompt tuning: semi-supervised distillation for CoOp",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    # A CoOp checkout has top-level packages named trainers, datasets and clip, so only dho_prompt is installed
    packages=find_packages(include=["dho_prompt", "dho_prompt.*"], exclude=["dho_prompt.trainers"])
    + ["dho_prompt.trainers", "dho_prompt.configs"],
    package_dir={"dho_prompt.trainers": "trainers", "dho_prompt.configs": "configs"},
    package_data={"dho_prompt": ["py.typed", "models/*/*"], "dho_prompt.configs": ["*/*.yaml", "*/*/*.yaml"]},
    install_requires=[
        "torch>=2.1",
        "torchvision>=0.16",
        "open_clip_torch>=3.0",
        "yacs>=0.1.8",
        "pyyaml",
        "tabulate",
        "tqdm",
        "numpy",
        "pillow",
        "safetensors",
        "scikit-learn",  # the images of the embedded data set, and Dassl's F1 score
        "tensorboard",
    ],
    extras_require={
        "plot": ["matplotlib"],
        # Dassl.pytorch itself is not on PyPI; these are what importing it needs, see docs/hosts.md
        "dassl": ["scipy", "gdown", "ftfy", "regex", "wilds", "pandas"],
        "dev": ["pytest", "hypothesis", "ruff", "mypy", "matplotlib", "setuptools>=70.1"],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "ruff"],
    },
    entry_points={
        "console_scripts": [
            "dho-prompt-train=dho_prompt.train:main",
            "dho-prompt-predict=dho_prompt.predict:main",
            "dho-prompt-report=dho_prompt.report:main",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
