"""Which files go with an image: too few would leave a caption behind, too many would take another image's."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.images.companions import find_companions, is_taken


@pytest.mark.parametrize(
    "companion",
    ["a.yaml", "a.caption", "a.txt", "a.JSON", "a.anything", "a.png.txt", "a.embedding.npy", "a.png.embedding.npy",
     "a.Hands.json", "a.phash", "a.7z"],
)  # fmt: skip
def test_a_file_with_the_stem_or_the_whole_name_belongs_to_the_image(companion: str) -> None:
    assert find_companions(["a.png", companion]).of == {"a.png": (companion,)}


@pytest.mark.parametrize(
    "other",
    ["a_1.txt", "ab.txt", "A.txt", "a.b.txt", "a", "a.1", "a.jpg.txt", "b.txt", "a.tiff", "a.CR2", "a.txt.bak"],
)
def test_a_file_whose_name_only_begins_alike_does_not_and_a_second_image_never_does(other: str) -> None:
    found = find_companions(["a.png", other])
    assert (found.of, found.alone, found.ambiguous) == ({"a.png": ()}, (other,), {})


def test_a_stage_with_a_point_is_not_taken_for_an_extension() -> None:
    names = ["x_stage1.png", "x_stage1.yaml", "x_stage1.5_swapped.png", "x_stage1.5_swapped.yaml"]
    assert find_companions(names).of == {
        "x_stage1.png": ("x_stage1.yaml",),
        "x_stage1.5_swapped.png": ("x_stage1.5_swapped.yaml",),
    }
    assert find_companions(["x_stage1.png", "x_stage1.5_swapped.yaml", "x_stage1.5"]).of == {"x_stage1.png": ()}


def test_what_could_be_of_two_images_is_of_neither() -> None:
    found = find_companions(["a.png", "a.jpg", "a.yaml", "a.png.txt"])
    assert found.of == {"a.jpg": (), "a.png": ("a.png.txt",)}
    assert found.ambiguous == {"a.yaml": ("a.jpg", "a.png")}
    with_raw = find_companions(["a.png", "a.nef", "a.xmp"])
    assert (with_raw.ambiguous, with_raw.alone) == ({"a.xmp": ("a.nef", "a.png")}, ("a.nef",))


def test_a_companion_of_an_image_that_is_not_taken_is_alone() -> None:
    assert find_companions(["a.heic", "a.xmp"]).alone == ("a.heic", "a.xmp")


def test_capital_letters_tell_stems_apart_and_not_extensions() -> None:
    found = find_companions(["a.PNG", "A.png", "a.yaml", "A.yaml"])
    assert found.of == {"a.PNG": ("a.yaml",), "A.png": ("A.yaml",)}


def test_one_letter_written_in_two_ways_is_one_letter() -> None:
    assert find_companions(["café.png", "cafe\u0301.yaml"]).of == {"café.png": ("cafe\u0301.yaml",)}


def test_hidden_files_are_left_out() -> None:
    found = find_companions([".DS_Store", "._a.png", ".png", "a.png"])
    assert (found.of, found.alone) == ({"a.png": ()}, ())
    assert not is_taken("._a.png")


NAMES = st.lists(
    st.builds(
        "{}{}".format,
        st.sampled_from(["a", "a_1", "b", "a.5_b", "é", "A"]),
        st.sampled_from([".png", ".jpg", ".yaml", ".png.txt", ".embedding.npy", ".tif", "", ".1"]),
    ),
    max_size=12,
)


@given(NAMES, st.randoms(use_true_random=False))
def test_every_file_is_in_one_place_in_whatever_order_they_come(names: list[str], chance: random.Random) -> None:
    found = find_companions(names)
    placed = [*found.of, *(each for many in found.of.values() for each in many), *found.ambiguous, *found.alone]
    assert sorted(placed) == sorted(set(names))
    for image, companions in found.of.items():
        assert is_taken(image) and not any(is_taken(each) for each in companions)
    shuffled = names.copy()
    chance.shuffle(shuffled)
    assert find_companions(shuffled) == found
