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
        ({"format": "1"}, "format '1'"),
        ({"scale": [0, 5, 9]}, "states it wrongly: scale"),
        ({"scale": [5, 0]}, "states scale wrongly"),
        ({"scale": [0, 1e300]}, "states scale wrongly"),
        ({"scale": "0..5"}, "states it wrongly: scale"),
        ({"input_size": [16, 2**40]}, "states input_size wrongly"),
        ({"input_size": [16, 0]}, "states input_size wrongly"),
        ({"input_size": ["16", 16]}, "states it wrongly: input_size"),
        ({"kind_version": True}, "states it wrongly: kind_version"),
        ({"outputs": []}, "states outputs wrongly"),
        ({"outputs": ["raw_score", "raw_score"]}, "states outputs wrongly"),
        ({"outputs": ["raw score", "x" * 100]}, "states outputs wrongly"),
        ({"model_version": "../x"}, "may hold letters"),
        ({"model_sha256": "0"}, "states model_sha256 wrongly"),
        ({"threshold_policy": []}, "states it wrongly: threshold_policy"),
        ({"golden": [{"file": "golden/gradient.png", "expected": {"raw_score": None}}]}, "states it wrongly: golden"),
        ({"golden": [{"file": "golden/x.png", "expected": {}}] * 101}, "101 golden images"),
        ({"notes": "a\0b"}, "NUL"),
        ({"notes": "\ud800"}, "half a character"),
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": 1, "scale": [0, NaN]}', "NaN is not a number"),
        ('{"format": 1, "scale": [0, -Infinity]}', "-Infinity is not a number"),
        ('{"format": 1, "scale": [0, 1e400]}', "1e400 is too large"),
        ('{"format": 1, "format": 1}', "twice"),
        ('{"format": ' + "9" * 5000 + "}", "not JSON"),
        ('{"format": ' + "[" * 100_000 + "}", "nested too deeply"),
        ("[]", "one JSON object"),
        (" " * (4 << 20) + "{}", "larger than"),
        ("", "not JSON"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_no_bundle_writes_is_refused(bundle, text, reason):
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=reason):
        load_bundle(bundle)


def test_every_golden_image_is_the_one_that_was_described(bundle, tmp_path):
    # A bundle from before the hashes were written has none, and loads.
    old = load_bundle(bundle)
    assert [golden.sha256 for golden in old.golden] == [None] * 3
    facts = json.loads((bundle / "bundle.json").read_text())
    images = {golden.file: (bundle / golden.file).read_bytes() for golden in old.golden}
    write_bundle(tmp_path / "new", facts, (bundle / "model.onnx").read_bytes(), images)
    new = load_bundle(tmp_path / "new")
    assert all(golden.sha256 is not None for golden in new.golden)
    path = tmp_path / "new" / new.golden[1].file
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=f"{new.golden[1].file} is not the image that bundle.json names"):
        load_bundle(tmp_path / "new")


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
