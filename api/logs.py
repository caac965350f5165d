"""How the API logs: one JSON object a line, with the request's id, without secrets."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging() -> None:
    """Set structlog up and silence uvicorn's access log, which would show queries."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # whatever it is at the time of the line
        cache_logger_on_first_use=False,
    )
    logging.getLogger("uvicorn.access").disabled = True
