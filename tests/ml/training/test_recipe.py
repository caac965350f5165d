import os

import pytest

from ml.training.recipe import RecipeError, make_recipe, parse_assignments, read_recipe_file, read_recipe_text

BILLION_LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


class TestReading:
    def test_keys_and_values_come_as_they_stand(self):
        assert read_recipe_text("# a comment\nepochs: 3\nflip: false\nweights: none\n", "it") == {
            "epochs": 3, "flip": False, "weights": "none"
        }  # fmt: skip
        assert read_recipe_text("", "it") == {}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("epochs: !!python/object/apply:os.system ['touch CANARY']", "line 1.*could not determine a constructor"),
            ("epochs: !!python/object/new:os.system [touch CANARY]", "could not determine a constructor"),
            ("!!python/module:os.path {}", "could not determine a constructor"),
            (BILLION_LAUGHS, "line 1.*aliases"),
            ("a: &a 1\nb: *a", "aliases"),
            ("a: &a [*a]", "aliases"),
            ("epochs: 1\nseed: 2\nepochs: 3", "line 3.*'epochs' stands twice"),
            ("weights: {a: 1, a: 2}", "'a' stands twice"),
            ("epochs: " + "[" * 5000, "nested too deeply"),
            ("epochs: " + "9" * 5000, "a value is none"),
            ("epochs: 2026-13-45", "a value is none"),
            ("epochs: 1\x00", "special characters"),
            ("- epochs", "`key: value` lines"),
            ("1: 2", "`key: value` lines"),
            ("? [epochs]\n: 1", "unhashable|`key: value` lines"),
            ("epochs: 1\n---\nepochs: 2", "single document"),
            ("epochs: [1", "line 1, column 11"),
            ("epochs: 1\n#" + "x" * (1 << 20), "larger than 1048576 bytes"),
        ],
    )
    def test_what_is_no_plain_recipe_is_refused_in_plain_words(self, tmp_path, monkeypatch, text, reason):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(RecipeError, match=reason) as caught:
            read_recipe_text(text, "recipe.yaml")
        assert str(caught.value).startswith("recipe.yaml")
        assert len(str(caught.value)) < 600
        assert not (tmp_path / "CANARY").exists()

    def test_the_value_of_an_assignment_is_read_the_same_way(self, tmp_path, monkeypatch):
        assert parse_assignments(["epochs=3", "weights=none"]) == {"epochs": 3, "weights": "none"}
        monkeypatch.chdir(tmp_path)
        for word in ("epochs=!!python/object/apply:os.system [touch CANARY]", "epochs=&a [*a]"):
            with pytest.raises(RecipeError, match="--set"):
                parse_assignments([word])
        assert not (tmp_path / "CANARY").exists()


class TestFiles:
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path):
        with pytest.raises(RecipeError, match=r"no-such\.yaml: No such file"):
            read_recipe_file(tmp_path / "no-such.yaml")
        with pytest.raises(RecipeError, match="not a file"):
            read_recipe_file(tmp_path)

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        path = tmp_path / "picture.yaml"
        path.write_bytes(b"\x89PNG\xff\xfe")
        with pytest.raises(RecipeError, match="not UTF-8"):
            read_recipe_file(path)
        path.write_bytes(b"epochs: 1\n#" + b"x" * (1 << 21))
        with pytest.raises(RecipeError, match="larger than"):
            read_recipe_file(path)

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.yaml")
        with pytest.raises(RecipeError, match="not a file"):
            read_recipe_file(tmp_path / "pipe.yaml")


def test_a_key_that_is_not_known_is_named_with_the_nearest_one():
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        make_recipe({"epoch": 3})


def test_an_error_never_repeats_a_huge_value():
    with pytest.raises(RecipeError) as caught:
        make_recipe({"epochs": ["x" * 10_000] * 100})
    assert len(str(caught.value)) < 1000


class TestHandmade:
    def test_its_size_is_the_one_it_is_defined_at(self):
        assert make_recipe({"image_size": 224}, {"backbone": "resnet18"}).image_size == 224
        recipe = make_recipe({"backbone": "handmade"})
        assert (recipe.image_size, recipe.weights, recipe.trainable) == (128, "none", "head")
        assert make_recipe(recipe.model_dump()) == recipe

    @pytest.mark.parametrize(
        ("keys", "reason"),
        [({"image_size": 224}, "leave out image_size"), ({"weights": "imagenet"}, "no weights to load"),
         ({"trainable": "all"}, "nothing to train but the head"),
         ({"trainable": "last_block"}, "nothing to train but the head")],
    )  # fmt: skip
    def test_what_it_has_not_is_refused(self, keys, reason):
        with pytest.raises(RecipeError, match=reason):
            make_recipe({"backbone": "handmade"}, keys)
