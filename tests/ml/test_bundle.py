import json
import shutil

import pytest

from ml.bundle import BundleError, bundle_sha256, load_bundle, write_bundle
from ml.calibration import Calibration
from tests.tiny_model import BRIGHT


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(BRIGHT, tmp_path / "bundle")


def describe(directory, **changes):
    path = directory / "bundle.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def test_a_whole_bundle_loads(bundle):
    loaded = load_bundle(bundle)
    assert loaded.kind == "rating"
    assert loaded.score_scale.low == loaded.scale[0]
    assert loaded.fitted_calibration == Calibration.from_json(loaded.calibration)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "golden/gradient.png"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle)


def test_a_changed_byte_of_the_graph_is_noticed(bundle):
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(bytes(data))
    with pytest.raises(BundleError, match="has changed since its export"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format 2"),
        ({"scale": ...}, "lacks a fact"),
        ({"calibration": {"method": "none"}}, "lacks a fact"),
        ({"golden": []}, "no golden images"),
        ({"golden": [{"file": "../../etc/passwd", "expected": {}}]}, "outside of golden/"),
        ({"golden": [{"file": "golden/gradient.png", "expected": {}}]}, "must state raw_score"),
    ],
    ids=str,
)
def test_a_wrong_description_is_refused_with_its_reason(bundle, changes, reason):
    describe(bundle, **changes)
    with pytest.raises(BundleError, match=reason):
        load_bundle(bundle)


def test_a_description_that_is_not_json_is_refused(bundle):
    (bundle / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        load_bundle(bundle)


def test_facts_of_a_later_release_are_passed_over(bundle):
    describe(bundle, something_new=1)
    assert load_bundle(bundle).kind == "rating"


def test_a_bundle_is_never_written_over(bundle):
    before = bundle_sha256(bundle)
    with pytest.raises(BundleError, match="never changes"):
        write_bundle(bundle, {}, b"", {})
    assert bundle_sha256(bundle) == before


def test_the_name_of_a_bundle_is_its_content(bundle):
    assert bundle_sha256(bundle) == bundle_sha256(BRIGHT)
    describe(bundle, metrics={"mae": 0.5})
    assert bundle_sha256(bundle) != bundle_sha256(BRIGHT)
