"""How the API logs: one JSON object a line, with the request's id, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict

_KEY = re.compile(r"ag_[0-9a-f]{8}_[0-9a-zA-Z]+")


def _without_keys(line: str) -> str:
    """The line with every API key cut to its public part, wherever a caller has put one."""
    return _KEY.sub(lambda found: found[0][:11] + "_...", line) if "ag_" in line else line


class _Render(structlog.processors.JSONRenderer):
    """One JSON object a line, without API keys."""

    def __call__(self, logger: Any, name: str, event_dict: EventDict) -> str:
        return _without_keys(str(super().__call__(logger, name, event_dict)))


def configure_logging() -> None:
    """Set structlog up and silence uvicorn's access log, which would show queries."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Render(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # whatever it is at the time of the line
        cache_logger_on_first_use=False,
    )
    logging.getLogger("uvicorn.access").disabled = True
