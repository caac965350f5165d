import json

import numpy as np
import onnx
import pytest

from ml.bundle import BundleError, load_bundle
from ml.export_onnx import export
from ml.golden import golden_images
from ml.images.store import FileStore
from ml.inference import Scorer
from ml.training.heads import RunError, read_run
from tests.ml.tiny_training import coloured, make_dataset, train_in_process


@pytest.fixture(scope="module")
def graph(exported):
    return onnx.load_from_string((exported.directory / "model.onnx").read_bytes())


class TestGraph:
    def test_it_takes_uint8_images_with_a_free_batch_and_gives_named_scores(self, graph):
        image = graph.graph.input[0]
        dims = [dim.dim_value or dim.dim_param for dim in image.type.tensor_type.shape.dim]
        assert image.name == "image"
        assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert dims[1:] == [32, 32, 3]
        assert isinstance(dims[0], str)
        assert [output.name for output in graph.graph.output] == ["raw_score", "ai_rating"]

    def test_its_metadata_says_what_the_description_says(self, graph, exported):
        metadata = {each.key: json.loads(each.value) for each in graph.metadata_props}
        description = json.loads((exported.directory / "bundle.json").read_text())
        for key in ("model_version", "kind", "scale", "calibration", "threshold_policy", "dataset_sha256"):
            assert metadata[key] == description[key]

    def test_it_holds_no_trace_of_the_machine(self, exported):
        data = (exported.directory / "model.onnx").read_bytes()
        for trace in (b"stack_trace", b".py", b"site-packages", b"/home", b"/tmp"):
            assert trace not in data


def test_parity_is_measured_and_recorded(exported):
    parity = load_bundle(exported.directory).parity
    assert parity["n"] == len(golden_images()) + 32
    assert 0.0 <= parity["max_abs_difference"] <= 1e-3


def test_exporting_twice_gives_the_same_bytes(tiny_dataset, trained, exported, tmp_path):
    result = export(
        trained.directory, "sunset_v2_2026_02_12", tiny_dataset.store, tiny_dataset.manifest, tmp_path / "again"
    )
    assert result["model_sha256"] == exported.events[-1]["result"]["model_sha256"]
    assert (tmp_path / "again" / "bundle.json").read_bytes() == (exported.directory / "bundle.json").read_bytes()


def test_served_scores_are_those_of_the_trained_model(tiny_dataset, trained, exported):
    import torch

    run = read_run(trained.directory)
    scorer = Scorer.load(exported.directory)
    images = [FileStore(tiny_dataset.store).image(row.image_sha256) for row in tiny_dataset.rows[:8]]
    pixels = np.stack([scorer._pixels(data) for data in images])
    with torch.no_grad():
        head = run.model(torch.from_numpy(pixels))[:, 0].double().numpy()
    wanted = run.judgement.outputs_from_head(head, run.calibration, run.scale, run.recipe.head)
    served = scorer.score_images(images)
    for name in scorer.bundle.outputs:
        assert np.abs(served[name] - wanted[name]).max() < 1e-4


def test_a_probability_of_good_and_the_threshold_on_it_are_in_the_bundle(tmp_path):
    dataset = make_dataset(tmp_path, n=80)
    facts = train_in_process(
        dataset, tmp_path / "run", evaluation="test", threshold="cost", cost_false_positive=3, cost_false_negative=1
    )
    export(tmp_path / "run", "sunset_v2_p", dataset.store, dataset.manifest, tmp_path / "bundle")
    scorer = Scorer.load(tmp_path / "bundle")
    assert scorer.bundle.outputs == ("raw_score", "ai_rating", "p_good")
    assert scorer.bundle.threshold_policy == facts["threshold_policy"]
    policy = facts["threshold_policy"]
    assert (policy["kind"], policy["on"], policy["threshold"]) == ("cost", "p_good", 0.75)
    assert policy["fitted_on"]["rows"] == scorer.bundle.fitted_calibration.good.fitted_on == "oof"
    assert policy["fitted_on"]["n"] == 64  # train and val; never test
    red, _ = scorer.score_image(coloured(5.0, 1))
    blue, prediction = scorer.score_image(coloured(0.0, 2))
    assert red["p_good"] > 0.8 > 0.2 > blue["p_good"] == pytest.approx(prediction.p_good)


def test_a_fine_tuned_binary_model_exports_too(tiny_dataset, tmp_path):
    # Regression targets 0..5 as yes and no: the same images, another head and another network.
    rows = [line.split(",") for line in tiny_dataset.manifest.read_text().splitlines()]
    for cells in rows[1:]:
        cells[4] = "1.0" if float(cells[3]) >= 2.5 else "0.0"
    from tests.ml.tiny_training import TinyDataset

    (tmp_path / "manifest_full.csv").write_text("\n".join(",".join(cells) for cells in rows) + "\n")
    (tmp_path / "store").symlink_to(tiny_dataset.store)
    dataset = TinyDataset(tmp_path, tiny_dataset.rows)
    train_in_process(
        dataset, tmp_path / "run", head="binary", backbone="mobilenet_v3_small", trainable="all", evaluation="test",
        calibration="none", epochs=1, folds=2,
    )  # fmt: skip
    export(tmp_path / "run", "sunset_v2_b", dataset.store, dataset.manifest, tmp_path / "bundle")
    outputs, prediction = Scorer.load(tmp_path / "bundle").score_image(golden_images()["golden/sunset.png"])
    assert set(outputs) == {"raw_score", "p_good"}
    assert prediction.model_dump()["ai_rating"] is None


def test_hand_made_features_are_trained_exported_and_served(tiny_dataset, tmp_path):
    facts = train_in_process(tiny_dataset, tmp_path / "run", backbone="handmade", image_size=128, evaluation="test")
    assert facts["weights_source"]["kind"] == "definitions"
    assert facts["normalisation"] == {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert not any("random" in note or "pretrained" in note for note in facts["notes"])
    result = export(tmp_path / "run", "sunset_v2_h", tiny_dataset.store, tiny_dataset.manifest, tmp_path / "bundle")
    assert result["parity"]["n"] == len(golden_images()) + 32
    assert result["parity"]["max_abs_difference"] < 1e-4
    scorer = Scorer.load(tmp_path / "bundle")
    store = FileStore(tiny_dataset.store)
    served = scorer.score_images([store.image(row.image_sha256) for row in tiny_dataset.rows])["ai_rating"]
    apart = np.abs(served - [row.label_value for row in tiny_dataset.rows])
    assert apart.mean() < 0.5  # the mean label is 1.3 off


def test_a_run_on_other_definitions_of_hand_made_features_is_refused(tiny_dataset, tmp_path, monkeypatch):
    train_in_process(tiny_dataset, tmp_path / "run", backbone="handmade", image_size=128, evaluation="test")
    monkeypatch.setattr("ml.training.heads.DEFINITIONS_SHA256", "0" * 64)
    with pytest.raises(RunError, match="another version of the hand-made features"):
        read_run(tmp_path / "run")


def test_the_largest_backbone_is_the_same_in_both_runtimes(tiny_dataset, tmp_path):
    """The others are held to it by the tests around this one."""
    train_in_process(tiny_dataset, tmp_path / "run", backbone="mobilenet_v2", evaluation="test")
    result = export(tmp_path / "run", "v", tiny_dataset.store, tiny_dataset.manifest, tmp_path / "bundle")
    assert result["parity"]["max_abs_difference"] <= 1e-3


def test_a_version_that_is_no_file_name_is_refused(tiny_dataset, trained, tmp_path):
    with pytest.raises(BundleError, match="model version"):
        export(trained.directory, "../v", tiny_dataset.store, tiny_dataset.manifest, tmp_path / "b")


def test_a_run_whose_weights_were_changed_is_refused(trained, tmp_path):
    for name in ("training.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((trained.directory / name).read_bytes())
    data = bytearray((tmp_path / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(bytes(data))
    with pytest.raises(RunError, match="changed since the training"):
        read_run(tmp_path)
