"""What a file name says, and what it does not."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.images.photo_names import STAGES, PhotoName, read_photo_name, stem_of

WHEN = datetime(2025, 7, 27, 22, 48, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "taken_at", "stage", "rest"),
    [
        ("20250727_224840_stage1_generated.png", WHEN, 1.0, "generated"),
        ("20250727_224840_stage1.5_face_swapped.png", WHEN, 1.5, "face_swapped"),
        ("/Users/x/Eros Mate/mojo1/20250727_224840_stage2_upscaled.PNG", WHEN, 2.0, "upscaled"),
        ("20250727_224840_STAGE3_enhanced.jpeg", WHEN, 3.0, "enhanced"),
        ("20250727_224840_stage1.5", WHEN, 1.5, ""),
        ("20250727_224840_stage2_a.b.png", WHEN, 2.0, "a.b"),
        ("20250727_224840_stage4_other.png", WHEN, None, "stage4_other"),
        ("20250727_224840_stage12_other.png", WHEN, None, "stage12_other"),
        ("20250727_224840_stage1x_other.png", WHEN, None, "stage1x_other"),
        ("20250727_224840_portrait_stage2_upscaled.png", WHEN, None, "portrait_stage2_upscaled"),
        ("20250727_224840.png", WHEN, None, ""),
        ("20251327_224840_stage1_generated.png", None, None, "20251327_224840_stage1_generated"),
        ("20250727_224860_stage1_generated.png", None, None, "20250727_224860_stage1_generated"),
        ("120250727_224840_stage1_x.png", None, None, "120250727_224840_stage1_x"),
        ("stage2_upscaled.png", None, 2.0, "upscaled"),
        ("holiday.png", None, None, "holiday"),
        (".png", None, None, ".png"),
    ],
)
def test_a_name_says_when_and_which_stage_or_nothing(
    name: str, taken_at: datetime | None, stage: float | None, rest: str
) -> None:
    assert read_photo_name(name) == PhotoName(taken_at, stage, rest)


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC)),
    st.sampled_from(sorted(STAGES)),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=20),
    st.sampled_from(["png", "JPG", "webp"]),
)
def test_what_was_written_into_a_name_is_read_from_it(
    taken_at: datetime, stage: float, rest: str, extension: str
) -> None:
    name = f"{taken_at:%Y%m%d_%H%M%S}_stage{stage:g}_{rest}.{extension}"
    assert read_photo_name(name) == PhotoName(taken_at, stage, rest)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=40))
def test_no_name_is_too_odd_and_no_letter_of_an_unknown_one_is_lost(name: str) -> None:
    found = read_photo_name(name)
    if found.taken_at is None and found.stage is None:
        assert found.rest == stem_of(name)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.png", "a"),
        ("a.b.png", "a.b"),
        ("a_stage1.5", "a_stage1.5"),
        (".hidden", ".hidden"),
        ("a.7z", "a"),
        ("a.", "a."),
    ],
)
def test_digits_alone_are_no_extension(name: str, stem: str) -> None:
    assert stem_of(name) == stem
