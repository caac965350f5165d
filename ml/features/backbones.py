"""Backbones: what turns pixels into features, and where the weights come from: torchvision networks, hand-made features.

Legend: N images, H x W pixels, D features. Pixels are uint8 `(N, H, W, 3)`, RGB in sRGB; the normalisation (ImageNet's,
none for hand-made features) happens inside `Encoder`, so that it is part of every exported graph.
"""

from __future__ import annotations

import hashlib
import pickle
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
import torchvision
from safetensors import SafetensorError
from torch import nn

from ml.events import VerbError
from ml.features.handmade import DEFINITIONS_SHA256, NAMES
from ml.features.sky import SkyFeatures
from ml.training.recipe import HANDMADE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The largest network here has 45 MB of weights.
MAX_WEIGHTS_BYTES = 1 << 30
DOWNLOAD_TIMEOUT_S = 30.0

BatchNorm = nn.modules.batchnorm._BatchNorm


class WeightsError(VerbError):
    """Pretrained weights cannot be had or do not fit; the message says how to supply them."""

    code = "bad_weights"


@dataclass(frozen=True)
class WeightsSource:
    """Where a backbone's weights came from."""

    kind: Literal["none", "imagenet", "file", "definitions"]
    """`none` is random weights; `definitions` is hand-made features, which have no weights at all."""
    sha256: str | None
    """Of the file, or of the definitions; None for random weights."""
    path_name: str | None
    """The file's name, without its folder."""
    batch_norm_folded: bool
    """Batch norm was folded into the convolutions: its statistics are placeholders and must never be updated."""


@dataclass(frozen=True)
class _Network:
    build: Callable[..., nn.Module]
    classifier: str
    """Name of the part that is removed."""
    num_features: int
    last_block: tuple[str, ...]
    """Names of the modules that `trainable: last_block` trains."""
    imagenet: Any
    """torchvision's named weights."""
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


_NETWORKS = {
    "resnet18": _Network(
        torchvision.models.resnet18, "fc", 512, ("layer4",), torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    ),
    "mobilenet_v3_small": _Network(
        torchvision.models.mobilenet_v3_small,
        "classifier",
        576,
        ("features.11", "features.12"),
        torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
    ),
    "mobilenet_v2": _Network(
        torchvision.models.mobilenet_v2,
        "classifier",
        1280,
        ("features.17", "features.18"),
        torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2,
    ),
    HANDMADE: _Network(
        lambda weights: SkyFeatures(), "", len(NAMES), (), None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    ),
}


class Encoder(nn.Module):
    """A backbone with its normalisation: pixels `(N, H, W, 3)`, uint8 or float in 0..255, to features (N, D) float32."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, net: nn.Module, batch_norm_folded: bool = False) -> None:
        super().__init__()
        self.name = name
        self.net = net
        self.batch_norm_folded = batch_norm_folded
        network = _NETWORKS[name]
        self.num_features = network.num_features
        # Constants of the code, not of a run: they stay out of the weights.
        self.register_buffer("mean", torch.tensor(network.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(network.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise, run the network, pool."""
        planes = pixels.permute(0, 3, 1, 2).float() / 255.0
        if torch.is_grad_enabled():
            # On a CPU, resnet18 trains twice as fast on contiguous planes; without gradients channels last is faster.
            planes = planes.contiguous()
        features: torch.Tensor = self.net((planes - self.mean) / self.std)
        return features

    def set_trainable(self, trainable: str) -> None:
        """Choose what gradients reach: nothing (`head`), the `last_block`, or `all`."""
        self.requires_grad_(False)
        for module in self._trained_modules(trainable):
            module.requires_grad_(True)

    def set_training(self, trainable: str) -> None:
        """Go to training mode only where something is trained, and never with batch norm whose statistics are folded.

        In training mode a folded batch norm would renormalise activations that the weights do not expect.
        """
        self.eval()
        for module in self._trained_modules(trainable):
            module.train()
        if self.batch_norm_folded:
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()

    def _trained_modules(self, trainable: str) -> list[nn.Module]:
        if trainable == "all":
            return [self.net]
        if trainable == "last_block":
            return [self.net.get_submodule(path) for path in _NETWORKS[self.name].last_block]
        return []


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone with weights, in eval mode."""

    encoder: Encoder
    source: WeightsSource
    content_sha256: str
    """Over its tensors, whatever file they came in: names cached features."""

    @property
    def num_features(self) -> int:
        """D."""
        return self.encoder.num_features

    def normalisation(self) -> dict[str, list[float]]:
        """What the graph subtracts from each channel in [0, 1], and divides by."""
        network = _NETWORKS[self.encoder.name]
        return {"mean": list(network.mean), "std": list(network.std)}


def load_backbone(name: str, weights: str, seed: int) -> LoadedBackbone:
    """Build a backbone and fill it.

    Args:
        name: a recipe's `backbone`.
        weights: `none` (random; all that hand-made features take), `imagenet` (downloaded by torchvision), or a file's
            path: a state_dict of the torchvision network as safetensors or .pth, float16 or float32, with or without
            its classifier.
        seed: of random weights.

    Raises:
        WeightsError: The file is missing, unreadable or of another network; the download failed.
    """
    encoder = build_encoder(name, seed)
    if name == HANDMADE:
        if weights != "none":
            raise WeightsError(f"hand-made features have no weights to take from {weights!r}; leave `weights` out")
        source = WeightsSource("definitions", DEFINITIONS_SHA256, None, False)
        return LoadedBackbone(encoder.eval(), source, DEFINITIONS_SHA256)
    if weights == "none":
        source = WeightsSource("none", None, None, False)
    else:
        path = _download(name) if weights == "imagenet" else _file(weights)
        data = path.read_bytes()
        state = _read_state(path, data)
        _fill(name, encoder.net, state, path)
        encoder.batch_norm_folded = _is_folded(encoder.net)
        kind: Literal["imagenet", "file"] = "imagenet" if weights == "imagenet" else "file"
        source = WeightsSource(kind, hashlib.sha256(data).hexdigest(), path.name, encoder.batch_norm_folded)
    encoder.eval()
    return LoadedBackbone(encoder, source, tensors_sha256(encoder.net.state_dict()))


def build_encoder(name: str, seed: int = 0, batch_norm_folded: bool = False) -> Encoder:
    """The network without its classifier, with random weights; leaves torch's random state as it was."""
    network = _NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network.build(weights=None)
    if network.classifier:
        setattr(net, network.classifier, nn.Identity())
    return Encoder(name, net, batch_norm_folded)


def tensors_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """Hash tensors by content: sha256 over (name, dtype, shape, bytes) in order of name, whatever file holds them."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _file(weights: str) -> Path:
    if weights.startswith("sha256:"):
        raise WeightsError(f"the weights {weights} have not been fetched from the store; give a file's path instead")
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {weights!r}; `weights` is `none`, `imagenet`, or the path of a .pth or "
            ".safetensors file"
        )
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise WeightsError(f"{path.name} is larger than {MAX_WEIGHTS_BYTES} bytes, so it is not one of these networks")
    return path


def downloaded_file(name: str) -> Path:
    """Where torchvision keeps the ImageNet weights of a backbone, once it has downloaded them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / str(_NETWORKS[name].imagenet.url).rsplit("/", 1)[-1]


def _download(name: str) -> Path:
    weights = _NETWORKS[name].imagenet
    path = downloaded_file(name)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)  # torchvision's download waits for ever otherwise
    try:
        weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the ImageNet weights of {name} could not be downloaded from {weights.url} ({error}). Fetch that file on "
            f"a machine with network and give its path, weights=/path/{path.name}; or train without, weights=none"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _read_state(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    """Read a state_dict by its content, not by its file's name: the store's files have none."""
    try:
        if data[8:9] == b"{":
            state: Any = safetensors.torch.load(data)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # torch's own message advises to load without its safety net, which must never be followed.
        raise WeightsError(
            f"{path.name} is damaged, or is not a weights file that holds tensors only. Save a plain state_dict with "
            "torch.save(net.state_dict(), ...) or as safetensors"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path.name} does not hold a state_dict, that is, tensors by name")
    return {str(key): value.float() if value.is_floating_point() else value for key, value in state.items()}


def _without_classifier(name: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    prefix = _NETWORKS[name].classifier + "."
    return {key: value for key, value in keys.items() if not key.startswith(prefix)}


def _shapes(name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        net = _NETWORKS[name].build(weights=None)
    return {key: value.shape for key, value in _without_classifier(name, net.state_dict()).items()}


def _fill(name: str, net: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    given = _without_classifier(name, state)
    wanted = {key: value.shape for key, value in net.state_dict().items()}
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in wanted]
    misshapen = [key for key in given if key in wanted and given[key].shape != wanted[key]]
    if missing or unexpected or misshapen:
        raise WeightsError(_misfit(name, path, state, missing, unexpected, misshapen))
    broken = [key for key, value in given.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{path.name} holds numbers that are not finite, in {_few(broken)}")
    net.load_state_dict(given, strict=False)


def _misfit(
    name: str,
    path: Path,
    state: dict[str, torch.Tensor],
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    for other in _NETWORKS:
        shapes = _shapes(other) if other not in (name, HANDMADE) else {}
        if shapes and all(key in state and state[key].shape == shape for key, shape in shapes.items()):
            return f"{path.name} is a state_dict of another network, {other}, not of {name}; set backbone={other}"
    parts = [
        f"{word}: {_few(keys)}"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    return f"{path.name} does not hold the weights of torchvision's {name}; {'; '.join(parts)}"


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _is_folded(net: nn.Module) -> bool:
    """Whether batch norm was folded at the source: every mean 0 and every gain 1, which training never leaves."""
    norms = [module for module in net.modules() if isinstance(module, BatchNorm)]
    return bool(norms) and all(
        norm.running_mean is not None and not norm.running_mean.any() and bool((norm.weight == 1).all())
        for norm in norms
    )
