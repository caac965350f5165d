"""What a form of filters sends."""

from __future__ import annotations

from pydantic import BeforeValidator

EMPTY_IS_ABSENT = BeforeValidator(lambda given: given or None)
"""A form sends every field, also those that nobody chose."""
