import numpy as np
import pytest

from ml.images.decode import ImageError, decode
from ml.images.fingerprints import fingerprints_of
from tests.ml.skies import FRAMES, jpeg


def test_a_smaller_and_a_coarser_copy_have_nearly_the_same_fingerprint():
    images = {
        "a": jpeg(FRAMES[0]),
        "b": jpeg(FRAMES[0], quality=35),
        "c": jpeg(FRAMES[0], width=200),
        "d": jpeg(FRAMES[5]),
    }
    prints = fingerprints_of(images.__getitem__, list(images), None)
    differences = np.abs(prints.thumbnails.astype(int) - prints.thumbnails[0].astype(int)).mean(axis=(1, 2, 3))
    distances = [int(prints.hashes[0] ^ each).bit_count() for each in prints.hashes]
    assert max(distances[1:3]) <= 6 < distances[3]
    assert max(differences[1:3]) < 1.5 < differences[3]


def test_a_thumbnail_is_the_mean_of_blocks():
    data = jpeg(FRAMES[0])
    (thumbnail,) = fingerprints_of(lambda sha256: data, ["a"], None).thumbnails
    whole = decode(data).astype(float)
    rows, columns = whole.shape[0] // 16, whole.shape[1] // 16
    blocks = whole.reshape(16, rows, 16, columns, 3).mean(axis=(1, 3))
    assert np.abs(thumbnail - blocks).max() < 12


def test_each_image_is_decoded_once_and_every_row_has_its_own(tmp_path):
    images, read = {"a" * 64: jpeg(FRAMES[0]), "b" * 64: jpeg(FRAMES[1])}, []

    def read_image(sha256):
        read.append(sha256)
        return images[sha256]

    asked, told = ["a" * 64, "b" * 64, "a" * 64], []
    first = fingerprints_of(read_image, asked, tmp_path, lambda done, total: told.append((done, total)))
    again = fingerprints_of(read_image, asked, tmp_path)
    assert sorted(read) == sorted(images)
    assert told == [(1, 2), (2, 2)]
    assert first.hashes.tolist() == again.hashes.tolist()
    np.testing.assert_array_equal(first.thumbnails, again.thumbnails)
    assert first.hashes[0] == first.hashes[2] != first.hashes[1]


def test_what_is_no_image_is_refused():
    with pytest.raises(ImageError):
        fingerprints_of(lambda sha256: b"nothing", ["a"], None)
