"""A recipe: every hyper-parameter of a training run, its meaning and its default. Unknown keys are refused."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ml.splits import ENOUGH_GROUPS, ENOUGH_ROWS

MAX_RECIPE_BYTES = 1 << 20
MAX_THREADS = 256
HANDMADE, HANDMADE_SIZE_PX = "handmade", 128
"""The backbone that has no weights, and the one size its features are defined at."""


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the key and the cure."""


class Recipe(BaseModel):
    """Hyper-parameters of one training run, from the export's gates to the threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    backbone: Literal["resnet18", "mobilenet_v3_small", "mobilenet_v2", "handmade"] = "mobilenet_v3_small"
    """Whose features the head reads: a torchvision network's, or `handmade` features of the sky, which need no weights."""
    weights: str = "none"
    """Where the backbone's weights come from: `imagenet` (downloaded by torchvision), a file's path, `sha256:<hex>` of a
    file already in the store, or `none` (random, and reported as such)."""
    head: str = "regression"
    """What is predicted: one of the kind's heads, for ratings `regression` (0..5) or `binary` (is it good?)."""
    trainable: Literal["head", "last_block", "all"] = "head"
    """What is trained: the head on frozen, cached features; also the backbone's last block; or everything."""
    solver: Literal["lbfgs", "adamw"] = "lbfgs"
    """How a head on frozen features is fitted: `lbfgs` exactly, for penalties of which validation chooses one, or `adamw`
    in epochs with the keys below. A backbone that is trained takes AdamW."""
    image_size: int = Field(224, ge=32, le=640)
    """Side in pixels of the square that every image is resized to (squashed, never cropped). `handmade`: always 128."""
    epochs: int = Field(100, ge=1, le=10_000)
    """Passes over the training rows at most."""
    patience: int = Field(20, ge=1)
    """Epochs without a better validation metric before training stops early."""
    batch_size: int = Field(64, ge=1, le=4096)
    """Images per step."""
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """Step size of AdamW for the head."""
    backbone_learning_rate: float = Field(1e-4, gt=0, le=1)
    """Step size of AdamW for the backbone, where it is trained."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay of AdamW."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before the head's last layer."""
    crop: float = Field(0.1, ge=0, le=0.5)
    """Augmentation: largest share of a side that is cut away at random (not with frozen features)."""
    flip: bool = True
    """Augmentation: mirror left and right at random (not with frozen features)."""
    color_jitter: float = Field(0.0, ge=0, le=0.5)
    """Augmentation: brightness, contrast and saturation. Off, since colour is what people judge."""
    seed: int = Field(0, ge=0)
    """Seed of every random number of the run."""
    min_rating_count: int = Field(1, ge=1)
    """Export gate: fewest people who must have judged a snapshot."""
    label_noise: Literal["auto", "off"] = "auto"
    """`auto`: where the raw ratings are known, labels are freed of the raters' biases and weighted by their precision (the
    binary head learns how sure a "good" is); `off`: plain labels that all count alike."""
    calibration: Literal["auto", "none", "linear", "platt", "isotonic"] = "auto"
    """How head outputs are mapped to scores, fitted on validation rows; `auto` chooses by their number."""
    threshold: Literal["fixed", "precision_target", "cost", "budget"] = "fixed"
    """How the threshold of the capture gate is chosen, on the rows that the calibration is fitted on: the kind's own
    number (`fixed`: 4 stars, or probability 0.5), or by one of the three keys below."""
    threshold_precision: float = Field(0.7, gt=0, lt=1)
    """`precision_target`: share of what passes that people must call good, reached by the lower end of its interval."""
    cost_false_positive: float = Field(1.0, gt=0, le=1e6)
    """`cost`: what it costs to let one pass that is not good, in any unit."""
    cost_false_negative: float = Field(1.0, gt=0, le=1e6)
    """`cost`: what it costs to miss a good one, in the same unit."""
    budget_per_day: float = Field(10.0, gt=0, le=1e9)
    """`budget`: how many frames may pass a day."""
    frames_per_day: float | None = Field(None, gt=0, le=1e9)
    """`budget` needs it: how many frames are scored a day. The held-out rows stand for them, so where only frames that
    passed before were labelled, fewer will pass than is said here."""
    evaluation: Literal["auto", "test", "kfold"] = "auto"
    """`test` rows, grouped `kfold` out of fold, or `auto`: K-fold when the test split is too small."""
    folds: int = Field(5, ge=2, le=20)
    """Folds of the grouped K-fold."""
    min_test_rows: int = Field(ENOUGH_ROWS, ge=1)
    """`auto` evaluates by K-fold when there are fewer test rows than this."""
    min_test_groups: int = Field(ENOUGH_GROUPS, ge=2)
    """`auto` evaluates by K-fold when there are fewer groups in the test split than this."""
    scale_low: float | None = None
    """Rating at `raw_score` 0; empty: the kind's default."""
    scale_high: float | None = None
    """Rating at `raw_score` 1; empty: the kind's default."""
    threads: int = Field(2, ge=1, le=MAX_THREADS)
    """CPU threads. Recorded, since another number gives slightly other weights."""

    @model_validator(mode="before")
    @classmethod
    def _handmade_has_its_own_size(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and keys.get("backbone") == HANDMADE:
            return {"image_size": HANDMADE_SIZE_PX, **keys}
        return keys

    @model_validator(mode="after")
    def _budget_has_its_traffic(self) -> Recipe:
        if self.threshold == "budget" and self.frames_per_day is None:
            raise ValueError(
                "threshold budget needs frames_per_day, how many frames are scored a day (100 webcams every 15 minutes "
                "are 9600)"
            )
        return self

    @model_validator(mode="after")
    def _handmade_is_only_read(self) -> Recipe:
        if self.backbone != HANDMADE:
            return self
        if self.weights != "none":
            raise ValueError(f"backbone handmade has no weights to load; leave out weights (given {self.weights})")
        if self.trainable != "head":
            raise ValueError(
                f"backbone handmade has nothing to train but the head; leave out trainable ({self.trainable})"
            )
        if self.image_size != HANDMADE_SIZE_PX:
            raise ValueError(
                f"backbone handmade is defined at image_size {HANDMADE_SIZE_PX}; leave out image_size ({self.image_size})"
            )
        return self

    @model_validator(mode="after")
    def _scale_is_whole(self) -> Recipe:
        if (self.scale_low is None) != (self.scale_high is None):
            raise ValueError("scale_low and scale_high are given together or not at all")
        if self.scale_low is not None and self.scale_high is not None and self.scale_low >= self.scale_high:
            raise ValueError("scale_low must be below scale_high")
        return self


class _PlainLoader(yaml.SafeLoader):
    """YAML as lines of `key: value`: no tags that make objects, no aliases, which can grow without end, no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, "aliases (`&name`, `*name`) are not read; write the values out", event.start_mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = str(key.value)[:100]
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  derived from SafeLoader
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not readable: {_plain(error)}") from error
    except RecursionError as error:
        raise RecipeError(f"{source} is not readable: it is nested too deeply") from error
    except ValueError as error:  # a number of 5000 digits, a 13th month
        raise RecipeError(f"{source} is not readable: a value is none: {error}"[:500]) from error


def _plain(error: yaml.YAMLError) -> str:
    """What is wrong and where, without a copy of the text."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)[:300]
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return where + ", ".join(part for part in (error.context, error.problem) if part)[:300]


def read_recipe_text(text: str, source: str) -> dict[str, Any]:
    """Read YAML as a dictionary of recipe keys; nothing in it is executed.

    Args:
        text: of the recipe.
        source: what to call it in an error, e.g. its path.

    Raises:
        RecipeError: It is larger than 1 MiB, not YAML, not a mapping of keys, gives a key twice, or uses aliases or
            tags of objects.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{source} is larger than {MAX_RECIPE_BYTES} bytes; a recipe is a short list of keys")
    content = _read_yaml(text, source)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RecipeError(f"{source} must hold `key: value` lines, one per recipe key")
    return content


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a YAML recipe as a dictionary of keys.

    Raises:
        RecipeError: The file is missing or no plain file, or `read_recipe_text` refuses it.
    """
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"cannot read the recipe {path}: it is not a file")
        with path.open("rb") as opened:
            text = opened.read(MAX_RECIPE_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not readable: it is not UTF-8 text ({error.reason})") from error
    return read_recipe_text(text, str(path))


def read_resolved_recipe(path: Path) -> Recipe:
    """Read the JSON of a recipe's keys, as a run is given it.

    Raises:
        RecipeError: The file cannot be read, is no JSON object, or holds an unknown key or a value out of range.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold one JSON object of recipe keys")
    return make_recipe(content)


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` words as recipe keys; values are YAML scalars.

    Raises:
        RecipeError: A word has no `=`, or its value is no YAML.
    """
    values: dict[str, Any] = {}
    for word in assignments:
        key, separator, text = word.partition("=")
        if not separator or not key:
            raise RecipeError(f"--set {word!r} must look like KEY=VALUE, for example --set backbone=resnet18")
        values[key.strip()] = _read_yaml(text, f"the value of --set {word[:200]!r}")
    return values


def make_recipe(*layers: dict[str, Any]) -> Recipe:
    """Build a recipe from layers of keys, later ones winning.

    Raises:
        RecipeError: An unknown key (with the nearest known one) or a value out of range.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    if "weights" in merged and merged["weights"] is None:  # YAML reads a bare `none` as text, but `null` as None
        merged["weights"] = "none"
    if merged.get("label_noise") is False:  # and `off` as false
        merged["label_noise"] = "off"
    for key in merged:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(key, Recipe.model_fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"unknown recipe key {key!r}{hint} Known keys: {', '.join(sorted(Recipe.model_fields))}")
    try:
        return Recipe(**merged)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']} (given {repr(item['input'])[:100]})"
            for item in error.errors()
        )
        raise RecipeError(problems) from error
