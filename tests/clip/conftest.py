import open_clip
import pytest

from tiny_clips import tiny_clip


@pytest.fixture(scope="session")
def tokenizer():
    return open_clip.SimpleTokenizer()


@pytest.fixture(scope="session")
def vit():
    return tiny_clip()
