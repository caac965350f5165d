"""Which pretrained weights a recipe may name over HTTP."""

from __future__ import annotations

import re

from api.errors import InvalidInput

_REMOTE_WEIGHTS = re.compile(r"none|imagenet|sha256:[0-9a-f]{64}")


def check_remote_weights(weights: str, command: str) -> None:
    """Refuse a path, which would let a caller read the server's files; `command` is where one may be named.

    Raises:
        InvalidInput: It is neither `none` nor `imagenet` nor the hash of a file in the store.
    """
    if not _REMOTE_WEIGHTS.fullmatch(weights):
        raise InvalidInput(
            "body.recipe.weights",
            "over HTTP weights are `none`, `imagenet`, or `sha256:<hex>` of a file in the store; a file on the "
            f"server's disk is named on the command line only: `{command} --set weights=FILE`",
        )
