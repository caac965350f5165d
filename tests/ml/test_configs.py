from pathlib import Path

import pytest

import ml
from ml.training.recipe import make_recipe, read_recipe_file

CONFIGS = Path(ml.__file__).parent / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_a_valid_recipe(path):
    make_recipe(read_recipe_file(path))


def test_the_baseline_is_the_plans():
    recipe = make_recipe(read_recipe_file(CONFIGS / "v2_baseline.yaml"))
    assert recipe.backbone == "resnet18"
    assert recipe.min_rating_count == 2
    assert recipe.color_jitter == 0.0


def test_the_demo_needs_no_weights_and_is_not_random():
    assert make_recipe(read_recipe_file(CONFIGS / "demo.yaml")).backbone == "handmade"


def test_the_debug_config_needs_no_network_and_no_training_of_the_backbone():
    recipe = make_recipe(read_recipe_file(CONFIGS / "debug.yaml"))
    assert (recipe.weights, recipe.trainable) == ("none", "head")
    assert recipe.image_size <= 96
