import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ml.bundle import BundleError, load_bundle
from ml.images.decode import ImageError
from ml.images.store import FileStore
from ml.inference import Scorer, open_session
from tests.tiny_model import BRIGHT, foreign_bundle, picture


@pytest.fixture(scope="module")
def scorer(exported):
    return Scorer.load(exported.directory)


@pytest.fixture(scope="module")
def images(tiny_dataset):
    store = FileStore(tiny_dataset.store)
    return [store.image(row.image_sha256) for row in tiny_dataset.rows[:11]]


class TestScores:
    def test_a_batch_scores_like_its_images_one_by_one(self, scorer, images):
        together = scorer.score_images(images, batch_size=4)
        for place, data in enumerate(images):
            alone, prediction = scorer.score_image(data)
            assert alone["raw_score"] == pytest.approx(float(together["raw_score"][place]), abs=1e-5)
            assert prediction.raw_score == alone["raw_score"]

    def test_threads_may_share_it(self, scorer, images):
        alone = [scorer.score_image(data)[0] for data in images]
        with ThreadPoolExecutor(4) as pool:
            assert [outputs for outputs, _ in pool.map(scorer.score_image, images)] == alone

    def test_no_images_give_no_scores(self, scorer):
        assert {name: values.shape for name, values in scorer.score_images([]).items()} == {
            "raw_score": (0,),
            "ai_rating": (0,),
        }

    def test_bytes_that_are_no_image_have_no_score(self, scorer):
        with pytest.raises(ImageError):
            scorer.score_image(b"hello")

    def test_pixels_of_another_size_are_refused(self, scorer):
        with pytest.raises(ValueError, match=r"uint8 \(N, 32, 32, 3\)"):
            scorer.run(np.zeros((1, 31, 32, 3), dtype=np.uint8))


def forget_golden_hashes(directory):
    """Make the bundle one from before they were written."""
    facts = json.loads((directory / "bundle.json").read_text())
    for golden in facts["golden"]:
        del golden["sha256"]
    (directory / "bundle.json").write_text(json.dumps(facts))


class TestRefusal:
    def test_the_self_test_notices_another_golden_image(self, exported, tmp_path):
        bundle = shutil.copytree(exported.directory, tmp_path / "bundle")
        # One that is neither 0 nor 1, where calibration is cut off, gets the picture of another.
        inside = next(each for each in load_bundle(bundle).golden if 0.05 < each.expected["raw_score"] < 0.95)
        (bundle / inside.file).write_bytes(picture(250))
        forget_golden_hashes(bundle)
        with pytest.raises(BundleError, match=f"self-test failed: {inside.file} gives"):
            Scorer.load(bundle)

    def test_the_self_test_notices_a_changed_byte_of_a_golden_image(self, exported, tmp_path):
        bundle = shutil.copytree(exported.directory, tmp_path / "bundle")
        path = bundle / "golden" / "noise.png"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
        with pytest.raises(BundleError, match="its sha256 differs"):
            Scorer.load(bundle)
        forget_golden_hashes(bundle)
        with pytest.raises(BundleError, match="self-test failed"):
            Scorer.load(bundle)

    def test_a_changed_byte_of_the_graph_is_never_opened(self, exported, tmp_path):
        bundle = shutil.copytree(exported.directory, tmp_path / "bundle")
        data = bytearray((bundle / "model.onnx").read_bytes())
        data[-1000] ^= 1
        (bundle / "model.onnx").write_bytes(bytes(data))
        with pytest.raises(BundleError, match="has changed since its export"):
            Scorer.load(bundle)

    def test_graph_and_description_must_name_the_same_version(self, tmp_path):
        with pytest.raises(BundleError, match="model version"):
            Scorer(load_bundle(foreign_bundle(tmp_path / "bundle", "another_version")))

    def test_a_kind_that_this_release_does_not_know_is_refused(self, tmp_path):
        bundle = shutil.copytree(BRIGHT, tmp_path / "bundle")
        path = bundle / "bundle.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "raiting"}))
        with pytest.raises(BundleError, match="Did you mean 'rating'"):
            Scorer.load(bundle)

    def test_weights_in_another_file_are_refused(self, tmp_path):
        import onnx

        weights = onnx.numpy_helper.from_array(np.zeros(3, dtype=np.float32), "w")
        onnx.external_data_helper.set_external_data(weights, "secret.bin")
        weights.ClearField("raw_data")
        model = onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Identity", ["w"], ["out"])], "g", [],
                [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [3])], [weights],
            )
        )  # fmt: skip
        with pytest.raises(BundleError, match="refers to other files"):
            open_session(model.SerializeToString(), threads=1)

    def test_bytes_that_are_no_graph_are_refused(self):
        with pytest.raises(BundleError, match="cannot open the graph"):
            open_session(b"hello", threads=1)


def test_serving_needs_no_torch():
    code = "import sys, ml.inference, ml.bundle, ml.events; print('torch' in sys.modules, 'onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
