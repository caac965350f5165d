import pickle

import pytest
import torch
from safetensors.torch import save_file

from ml.features.backbones import WeightsError, build_encoder, load_backbone


def folded_state(seed=0):
    """A state_dict of mobilenet_v2 as it looks after batch norm was folded into the convolutions."""
    net = build_encoder("mobilenet_v2", seed).net
    state = {}
    for key, value in net.state_dict().items():
        if key.endswith("running_var"):
            state[key] = torch.full_like(value, 1.0 - 1e-5)
        else:  # without the norm, random convolutions would let the picture fade away
            state[key] = value * 3.0 if value.ndim == 4 else value.clone()
    return state


@pytest.mark.parametrize(
    ("name", "num_features"), [("resnet18", 512), ("mobilenet_v3_small", 576), ("mobilenet_v2", 1280)]
)
def test_pixels_become_pooled_features(name, num_features):
    backbone = load_backbone(name, "none", seed=0)
    with torch.no_grad():
        features = backbone.encoder(torch.zeros(2, 40, 48, 3, dtype=torch.uint8))
    assert features.shape == (2, num_features)
    assert backbone.num_features == num_features


def test_random_weights_hang_on_the_seed_alone():
    first, second, other = (load_backbone("resnet18", "none", seed).content_sha256 for seed in (1, 1, 2))
    assert first == second != other


def test_a_random_backbone_is_not_taken_for_a_folded_one():
    assert not load_backbone("mobilenet_v2", "none", seed=0).source.batch_norm_folded


class TestFiles:
    def test_half_precision_with_a_classifier_is_taken_as_float32(self, tmp_path):
        state = folded_state() | {"classifier.1.weight": torch.zeros(1000, 1280)}
        path = tmp_path / "weights.pth"
        torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
        backbone = load_backbone("mobilenet_v2", str(path), seed=0)
        assert backbone.source.kind == "file"
        assert backbone.source.path_name == "weights.pth"
        assert backbone.source.batch_norm_folded
        assert {parameter.dtype for parameter in backbone.encoder.parameters()} == {torch.float32}

    def test_the_content_names_the_weights_whatever_the_container(self, tmp_path):
        state = folded_state()
        torch.save(state, tmp_path / "a.pth")
        save_file(state, tmp_path / "named_by_the_store")
        loaded = [
            load_backbone("mobilenet_v2", str(tmp_path / name), seed=0) for name in ("a.pth", "named_by_the_store")
        ]
        assert loaded[0].content_sha256 == loaded[1].content_sha256
        assert loaded[0].source.sha256 != loaded[1].source.sha256

    def test_weights_of_another_network_are_recognised(self, tmp_path):
        torch.save(folded_state(), tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="another network, mobilenet_v2, not of resnet18"):
            load_backbone("resnet18", str(tmp_path / "w.pth"), seed=0)

    def test_missing_keys_are_named(self, tmp_path):
        state = folded_state()
        del state["features.1.conv.0.0.weight"]
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"missing: features\.1\.conv\.0\.0\.weight"):
            load_backbone("mobilenet_v2", str(tmp_path / "w.pth"), seed=0)

    def test_a_file_that_is_no_state_dict_is_refused_without_unpickling_it(self, tmp_path):
        (tmp_path / "evil.pth").write_bytes(pickle.dumps(print, protocol=2))
        for name in ("evil.pth", "text.pth"):
            (tmp_path / "text.pth").write_text("hello")
            with pytest.raises(WeightsError, match=name):
                load_backbone("resnet18", str(tmp_path / name), seed=0)

    def test_a_missing_file_is_named_with_the_alternatives(self):
        with pytest.raises(WeightsError, match="`none`, `imagenet`, or the path"):
            load_backbone("resnet18", "/no/such/file.pth", seed=0)

    def test_numbers_that_are_not_finite_are_refused(self, tmp_path):
        state = folded_state()
        state["features.0.0.weight"][0, 0, 0, 0] = torch.nan
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="not finite"):
            load_backbone("mobilenet_v2", str(tmp_path / "w.pth"), seed=0)


def test_a_failed_download_names_the_file_and_the_way_round(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    monkeypatch.setattr("torch.hub.urlopen", _no_network)
    with pytest.raises(WeightsError, match=r"weights=/path/resnet18-[0-9a-f]+\.pth"):
        load_backbone("resnet18", "imagenet", seed=0)


def _no_network(*_args, **_kwargs):
    raise OSError("no route to host")


class TestFoldedBatchNorm:
    def test_training_all_of_it_leaves_its_statistics_alone(self, tmp_path):
        torch.save(folded_state(), tmp_path / "w.pth")
        encoder = load_backbone("mobilenet_v2", str(tmp_path / "w.pth"), seed=0).encoder
        before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
        weight = encoder.net.get_parameter("features.18.0.weight")
        old_weight = weight.detach().clone()
        encoder.set_trainable("all")
        encoder.set_training("all")
        optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
        pixels = torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        encoder(pixels).square().sum().backward()
        optimizer.step()
        assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())
        assert not torch.equal(weight, old_weight)

    def test_ordinary_batch_norm_does_learn_its_statistics(self):
        encoder = build_encoder("mobilenet_v2")
        encoder.set_trainable("all")
        encoder.set_training("all")
        encoder(torch.full((4, 32, 32, 3), 200, dtype=torch.uint8))
        assert encoder.net.get_buffer("features.0.1.running_mean").any()

    def test_the_last_block_alone_is_trained(self):
        encoder = build_encoder("resnet18")
        encoder.set_trainable("last_block")
        names = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        assert names
        assert all(name.startswith("net.layer4.") for name in names)
