"""What a kind of judgement must say of itself, so that every stage can treat all kinds alike.

A kind is one class in one file. Stages (export, train, evaluate, export to ONNX, score) call only what is named here
and never compare a kind's name. Shapes: `N` items, `D` features.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from ml.calibration import Calibration
from ml.manifest import ManifestRow
from ml.noise import Labels, Noise

if TYPE_CHECKING:
    import torch


class JudgementError(ValueError):
    """The labels, the head or the class of a judgement cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class MetricSpec:
    """One number that an evaluation reports."""

    name: str
    """Key in reports, e.g. `mae`."""
    higher_is_better: bool
    """Direction."""
    low: float
    """Smallest possible value."""
    high: float
    """Largest possible value; `inf` where there is none."""
    meaning: str
    """One sentence for people."""


@dataclass(frozen=True)
class Scale:
    """The app's scale of a score: `value = low + (high - low) * raw_score`, `raw_score` in [0, 1]."""

    low: float
    high: float

    def from_raw(self, raw: np.ndarray | float) -> Any:
        """Turn raw scores in [0, 1] into values on the scale."""
        return self.low + (self.high - self.low) * raw

    def to_raw(self, value: np.ndarray | float) -> Any:
        """Turn values on the scale into raw scores in [0, 1]."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class ReviewSpec:
    """How a person answers: the page's widget and its keys."""

    widget: str
    """Name of the widget on the review page."""
    keys: dict[str, str]
    """Key -> meaning; keys are unique."""


@dataclass(frozen=True)
class VotedTargets:
    """What a head learns from the votes behind labels, where the noise of the raters is known."""

    targets: np.ndarray
    """float (I,), on the scale of `target`."""
    is_weighted: bool
    """Whether each counts by its precision; false where the target itself says how sure it is."""
    how: str
    """For people, after "labels are learned"."""


class Judgement(ABC):
    """One kind of judgement: what people say, what a model says, how one becomes the other, and how far they are apart.

    A class that lacks a member is refused when it is defined. Only `build_head`, `loss` and `graph_outputs` may use
    torch, imported inside the function.
    """

    name: ClassVar[str]
    """The kind, as in URLs, commands and the database."""
    version: ClassVar[int]
    """Raised when the meaning of a label changes."""
    version_prefix: ClassVar[str]
    """First part of model versions, e.g. `sunset_v2`."""
    Label: ClassVar[type[BaseModel]]
    """What a person says."""
    Prediction: ClassVar[type[BaseModel]]
    """What a model says."""
    images_per_item: ClassVar[tuple[int, int]]
    """Fewest and most images of one item."""
    label_sources: ClassVar[tuple[str, ...]]
    """Named label queries of `db.queries.labels`, the one that wins first."""
    heads: ClassVar[tuple[str, ...]]
    """Heads that can be trained; the first is the default."""
    scale: ClassVar[Scale]
    """Default scale of its scores."""
    scores_snapshots: ClassVar[bool]
    """Whether its scores are the snapshot scores of the web app (score columns, capture gate)."""
    review: ClassVar[ReviewSpec]
    recipe_defaults: ClassVar[dict[str, Any]]
    """Values that differ from the general recipe."""
    good_from: ClassVar[float | None] = None
    """Label from which on `is_good` is true, where that is a threshold on mean stars."""

    _REQUIRED = (
        "name", "version", "version_prefix", "Label", "Prediction", "images_per_item", "label_sources", "heads",
        "scale", "scores_snapshots", "review", "recipe_defaults",
    )  # fmt: skip

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("abstract", False):
            return
        missing = [member for member in cls._REQUIRED if not hasattr(cls, member)]
        abstract = [name for name, value in inspect.getmembers(cls) if getattr(value, "__isabstractmethod__", False)]
        if missing or abstract:
            raise TypeError(f"{cls.__name__} is not a complete judgement: it lacks {', '.join(missing + abstract)}")

    # -- labels -> targets -------------------------------------------------------------------------------------------

    @abstractmethod
    def label_of(self, label_value: float) -> BaseModel:
        """What people said, as a `Label`, from the value of a label query."""

    @abstractmethod
    def target(self, label_value: float, head: str) -> float:
        """The number that `head` is trained on for one label value (`target_label` in the manifest)."""

    @abstractmethod
    def is_good(self, label_value: float) -> bool | None:
        """Whether a label means "worth showing"; None where the kind has no such idea."""

    @abstractmethod
    def check_targets(self, targets: np.ndarray, head: str) -> None:
        """Raise JudgementError when `head` cannot learn from these targets, float (N,): none, or all of one class."""

    @abstractmethod
    def encode(self, targets: np.ndarray, head: str) -> np.ndarray:
        """Turn targets, float (N,), into training targets, float32 (N,), e.g. 0..5 into [0, 1]."""

    # -- torch -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def build_head(self, num_features: int, head: str, dropout: float) -> torch.nn.Module:
        """A module from features (N, D) float32 to head outputs (N, 1) float32, not yet calibrated."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, head: str) -> torch.Tensor:
        """Weighted mean loss, a scalar, of head outputs (N, 1) against encoded targets (N,)."""

    @abstractmethod
    def graph_outputs(
        self, outputs: torch.Tensor, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, torch.Tensor]:
        """The named outputs of the ONNX graph, each (N,) float32, from head outputs (N, 1)."""

    # -- numpy -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def fit_calibration(self, outputs: np.ndarray, targets: np.ndarray, head: str, method: str) -> Calibration:
        """Fit on held-out head outputs, float (N,), against encoded targets (N,); never on test rows.

        `method` is `auto`, or one of `ml.calibration.METHODS`.
        """

    @abstractmethod
    def outputs_from_head(
        self, outputs: np.ndarray, calibration: Calibration, scale: Scale, head: str
    ) -> dict[str, np.ndarray]:
        """The same named outputs as `graph_outputs`, each float (N,), computed with numpy from head outputs (N,)."""

    @abstractmethod
    def decode(self, outputs: dict[str, np.ndarray], scale: Scale, head: str) -> list[BaseModel]:
        """Turn the graph's named outputs into N predictions."""

    @abstractmethod
    def from_raw_score(
        self, raw_score: float, scale: Scale, head: str, calibration: Calibration
    ) -> tuple[BaseModel, dict[str, float]]:
        """The prediction and named outputs of one item whose `raw_score` is known from before."""

    @abstractmethod
    def scores(self, outputs: dict[str, np.ndarray], head: str) -> np.ndarray:
        """The one number per item that metrics and baselines are about, float (N,), on the scale of `target`."""

    @abstractmethod
    def metrics(self, head: str) -> tuple[MetricSpec, ...]:
        """What an evaluation of `head` reports; the first is the primary one, which promotion compares."""

    @abstractmethod
    def measure(self, scores: np.ndarray, targets: np.ndarray, head: str) -> dict[str, float]:
        """The metrics of scores (N,) against targets (N,); NaN where one is undefined for these rows."""

    def measure_many(
        self, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, head: str
    ) -> dict[str, np.ndarray]:
        """`measure` for many weightings of the rows at once, each metric float (B,); bootstrap intervals need it.

        `weights` is (B, N), whole numbers: how often each row occurs. This default calls `measure` B times; a kind
        with many rows overrides it with a vectorised one.
        """
        counts = weights.astype(np.int64)
        measured = [self.measure(np.repeat(scores, row), np.repeat(targets, row), head) for row in counts]
        return {spec.name: np.array([each[spec.name] for each in measured]) for spec in self.metrics(head)}

    def targets_from_votes(self, noise: Noise, labels: Labels, head: str) -> VotedTargets | None:
        """What `head` learns from items' votes; None where it learns from plain labels only.

        Never shrunk towards a mean, since a model's expectation shrinks by itself.
        """
        return None

    def stars_per_target(self, head: str) -> float | None:
        """How many stars one unit of `target` is; None where errors of `head` are not measured in raters' stars.

        Where it is known and `mae` is among the metrics, a report says how much of it is the raters' noise.
        """
        return None

    @abstractmethod
    def baselines(self, train: Sequence[ManifestRow], test: Sequence[ManifestRow], head: str) -> dict[str, np.ndarray]:
        """Name -> scores (len(test),) of the predictors that need no model; at least one."""

    @abstractmethod
    def threshold_policy(self, head: str, scale: Scale) -> dict[str, Any]:
        """The default policy object, see `ml.thresholds`."""

    @abstractmethod
    def disagreement(self, label: BaseModel, prediction: BaseModel) -> float:
        """Distance of a person's label and a model's prediction in [0, 1]; 0 when they agree."""
