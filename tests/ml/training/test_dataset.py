import numpy as np
import pytest
import torch

from ml.events import Progress
from ml.features.backbones import load_backbone
from ml.images.store import FileStore
from ml.judgements import judgement
from ml.manifest import ManifestError
from ml.training.dataset import ImageReader, augment, cached_features, encoder_key, load_items
from tests.ml.rows import row
from tests.ml.tiny_training import SIZE


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("resnet18", "none", seed=0)


class TestCachedFeatures:
    def features(self, backbone, tiny_dataset, cache, hashes, store=None):
        reader = ImageReader(FileStore(store or tiny_dataset.store), SIZE)
        return cached_features(backbone, reader, hashes, cache, 2, Progress())

    def test_cached_images_are_not_read_again_and_order_is_kept(self, backbone, tiny_dataset, tmp_path):
        hashes = [row.image_sha256 for row in tiny_dataset.rows[:5]]
        first = self.features(backbone, tiny_dataset, tmp_path / "c", hashes)
        empty_store = str(tmp_path / "empty")
        again = self.features(backbone, tiny_dataset, tmp_path / "c", hashes[::-1], empty_store)
        assert torch.equal(first.flip(0), again)

    def test_a_feature_does_not_depend_on_its_neighbours(self, backbone, tiny_dataset, tmp_path):
        hashes = [row.image_sha256 for row in tiny_dataset.rows]
        together = self.features(backbone, tiny_dataset, tmp_path / "a", hashes)
        alone = self.features(backbone, tiny_dataset, tmp_path / "b", hashes[7:8])
        assert torch.equal(together[7:8], alone)

    def test_a_damaged_file_is_computed_again(self, backbone, tiny_dataset, tmp_path):
        hashes = [row.image_sha256 for row in tiny_dataset.rows[:2]]
        first = self.features(backbone, tiny_dataset, tmp_path, hashes)
        path = tmp_path / encoder_key(backbone, SIZE, 2) / hashes[0][:2] / f"{hashes[0]}.npy"
        for damage in (path.read_bytes()[:100], b""):
            path.write_bytes(damage)
            assert torch.equal(self.features(backbone, tiny_dataset, tmp_path, hashes), first)
        assert len(list(path.parent.iterdir())) == 1  # and nothing temporary stays behind

    def test_what_decides_a_feature_has_its_own_folder(self, backbone, monkeypatch):
        other = load_backbone("resnet18", "none", seed=1)
        keys = [encoder_key(backbone, 32, 1), encoder_key(backbone, 64, 1), encoder_key(other, 32, 1)]
        keys.append(encoder_key(backbone, 32, 2))
        monkeypatch.setattr("ml.training.dataset.libraries", lambda: {"pillow": "12.0.0"})
        keys.append(encoder_key(backbone, 32, 1))
        assert len(set(keys)) == 5

    def test_a_missing_image_is_named(self, backbone, tiny_dataset, tmp_path):
        with pytest.raises(ManifestError, match="f" * 64):
            self.features(backbone, tiny_dataset, tmp_path, ["f" * 64])


class TestLoadItems:
    def test_excluded_rows_stay_out_and_order_is_by_snapshot(self):
        rows = [row(3), row(1, split="test", target_label=2.5), row(2).excluded("dead-url")]
        items = load_items(rows, judgement("rating"), "regression")
        assert items.snapshot_ids.tolist() == [1, 3]
        assert items.targets.tolist() == [2.5, 4.0]
        assert np.allclose(items.encoded, [0.5, 0.8])
        assert items.rows("test").tolist() == [0]

    def test_a_row_in_a_split_without_an_image_is_refused(self):
        with pytest.raises(ManifestError, match="snapshot 1 "):
            load_items([row(1, image_sha256=None)], judgement("rating"), "regression")


class TestAugment:
    IMAGES = torch.arange(2 * 8 * 8 * 3, dtype=torch.float32).view(2, 8, 8, 3) % 251

    def test_nothing_asked_nothing_done(self):
        assert torch.equal(augment(self.IMAGES, 0.0, False, 0.0, torch.Generator()), self.IMAGES)

    def test_half_of_the_images_are_mirrored(self):
        images = self.IMAGES[:1].expand(64, 8, 8, 3)
        changed = augment(images, 0.0, True, 0.0, torch.Generator().manual_seed(0))
        mirrored = [torch.allclose(image, images[0].flip(1), atol=1e-2) for image in changed]
        kept = [torch.allclose(image, images[0], atol=1e-2) for image in changed]
        assert all(a != b for a, b in zip(mirrored, kept, strict=True))
        assert 16 < sum(mirrored) < 48

    def test_crop_and_flip_leave_a_flat_colour_alone(self):
        flat = torch.tensor([200.0, 90.0, 30.0]).expand(4, 8, 8, 3)
        assert torch.allclose(augment(flat, 0.3, True, 0.0, torch.Generator().manual_seed(0)), flat, atol=1e-3)

    def test_jitter_changes_colours_within_range(self):
        changed = augment(self.IMAGES, 0.0, False, 0.4, torch.Generator().manual_seed(0))
        assert not torch.allclose(changed, self.IMAGES)
        assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 255.0

    def test_the_seed_decides(self):
        first, second = (augment(self.IMAGES, 0.3, True, 0.0, torch.Generator().manual_seed(5)) for _ in range(2))
        assert torch.equal(first, second)
