"""Reading rows of a store of several shards: any images in any views, in the order that they are asked for."""

import numpy as np
import pytest

from dho_prompt.data.batches.stored import ViewSampler
from dho_prompt.store.layout import Manifest, checksums, shard_file, write_manifest
from dho_prompt.store.rows import StoredRows
from dho_prompt.store.writing import write_shard

IMAGES, VIEWS, WIDTH = 23, 3, 4


@pytest.fixture
def folder(tmp_path):
    """A store whose rows begin with view and image; the last shard is a short one, and image 9 was unreadable."""
    manifest = Manifest("student", "features", "float16", WIDTH, VIEWS, IMAGES, 5, None, None, "fp32", [], {})
    write_manifest(tmp_path, manifest)
    for shard in range(manifest.shards):
        images = np.array(manifest.images_of(shard))
        records = np.zeros((VIEWS, len(images)), manifest.record)
        for view in range(VIEWS):
            records[view]["row"] = np.stack([np.full(len(images), view), images, images, images], 1)
            records[view]["crop"][:, 2] = np.where(images == 9, -1, 7)
            records[view]["check"] = checksums(records[view], view * IMAGES + images)
        write_shard(tmp_path, shard, records)
    return tmp_path


def test_any_images_in_any_views(folder):
    draw = np.random.default_rng(0)
    images, views = draw.integers(0, IMAGES, 200), draw.integers(0, VIEWS, 200)
    read = StoredRows(folder).read(images, views)
    assert read["row"][:, 0].tolist() == views.tolist() and read["row"][:, 3].tolist() == images.tolist()
    assert len(StoredRows(folder).read(images[:0], views[:0])) == 0


@pytest.mark.parametrize("image, view", [(IMAGES, 0), (-1, 0), (0, VIEWS), (0, -1)])
def test_what_is_not_there(folder, image, view):
    with pytest.raises(IndexError, match="has 23 images in 3 views"):
        StoredRows(folder).read(np.array([image]), np.array([view]))


def test_unreadable_images(folder):
    assert StoredRows(folder).unreadable().tolist() == [9]


@pytest.mark.parametrize("byte", range(20 + 2 * WIDTH + 4))
def test_every_byte_of_a_record_is_checked(folder, byte):
    path, record = shard_file(folder, 2), StoredRows(folder).manifest.record
    content = bytearray(path.read_bytes())
    at = len(content) - VIEWS * 5 * record.itemsize + record.itemsize * (1 * 5 + 3) + byte  # view 1 of image 13
    content[at] ^= 16
    path.write_bytes(content)
    rows = StoredRows(folder)
    rows.read(np.arange(IMAGES), np.zeros(IMAGES, int))
    with pytest.raises(ValueError, match="shard-00002.npy is damaged: view 1 of image 13"):
        rows.read(np.array([2, 13]), np.array([1, 1]))


def test_each_pass_shows_the_next_view():
    front, back = ViewSampler([4, 2], 3), ViewSampler([4, 2], 3, backwards=True)
    assert [list(front) for _ in range(4)] == [[(4, view), (2, view)] for view in (0, 1, 2, 0)]
    assert [list(back)[0] for _ in range(4)] == [(4, 2), (4, 1), (4, 0), (4, 2)]
    front.shown = 2
    assert list(front) == [(4, 2), (2, 2)]
