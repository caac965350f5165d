"""Which webcam, when and in which phase: the same fields as query parameters, form fields and JSON keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from api.schemas.fields import Body, Id, Moment, Phase, Text

DEFAULT_SOURCE = "windy"


def picture_url(text: str) -> str:
    """The address, unless nothing can be fetched there whatever it is.

    Raises:
        ValueError: It is too long or holds NUL.
    """
    if len(text) > 4096 or "\0" in text:
        raise ValueError("is no URL of a picture")
    return text


class FrameFields(Body):
    """Where and when a picture was taken, as far as the caller knows."""

    webcam_id: Id | None = None
    """The webcam's id here."""
    source: Text | None = None
    """Together with `webcam`: whose webcam it is (default `windy`)."""
    webcam: Text | None = None
    """The webcam's id at its source, instead of `webcam_id`."""
    phase: Phase | None = None
    """Which side of the night; by the time and the webcam's longitude where it is not given."""
    captured_at: Moment | None = None
    """When the picture was taken, with offset (in a URL write `+` as `%2B`); now where it is not given."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: each for key, each in value.items() if each != ""}

    @model_validator(mode="after")
    def _one_webcam(self) -> FrameFields:
        if self.webcam_id is not None and self.webcam is not None:
            raise ValueError("give webcam_id, or webcam with its source, not both")
        if self.source is not None and self.webcam is None:
            raise ValueError("source needs webcam, the webcam's id at that source")
        return self

    @property
    def names_webcam(self) -> bool:
        """Whether a webcam is given at all."""
        return self.webcam_id is not None or self.webcam is not None


class ScoreItem(FrameFields):
    """One picture to score, by address or as text."""

    url: Annotated[str, AfterValidator(picture_url)] | None = Field(None, examples=["https://example.org/webcam.jpg"])
    """Address of the picture, http or https."""
    image_base64: str | None = None
    """The picture's bytes in base64, instead of `url`."""

    @model_validator(mode="after")
    def _one_picture(self) -> ScoreItem:
        if (self.url is None) == (self.image_base64 is None):
            raise ValueError('give the picture as "url" or as "image_base64", exactly one of them')
        return self


FRAME_FIELDS = tuple(FrameFields.model_fields)
