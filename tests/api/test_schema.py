"""The description is right, and no request that it allows or forbids is a fault of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.main import create_app

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, ignored_auth,
    negative_data_rejection, missing_required_header, unsupported_method, allow_header_conformance,
]  # fmt: skip
"""All but one: that a request which the schema allows is accepted. The schema cannot say what a picture is."""
FORGIVING = {"/v1/score", "/v1/score/batch", "/v1/snapshots", "/v1/webcams/score"}
"""Their form and query fields may be empty, and a batch or a tick answers for each item: what a schema forbids may pass there."""
SETTINGS: dict[str, Any] = {
    "derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck),
}  # fmt: skip
DESCRIPTION = create_app().openapi()
schema = schemathesis.openapi.from_dict(DESCRIPTION)


def test_the_description_is_valid_openapi() -> None:
    validate(DESCRIPTION)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def web(api_key: Callable[..., str]) -> Iterator[requests.Session]:
    """Connections that carry an admin's key."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {api_key()}"
        yield session


@schema.parametrize()
@settings(max_examples=3, **SETTINGS)
def test_no_request_is_a_fault_of_ours(case: Any, web: requests.Session, server: str, ids: dict[str, str]) -> None:
    send(case, web, server)


@pytest.mark.faults
@pytest.mark.timeout(1200)
@schema.parametrize()
@settings(max_examples=100, **SETTINGS)
def test_no_request_of_hundreds_is(case: Any, web: requests.Session, server: str, ids: dict[str, str]) -> None:
    send(case, web, server)


def send(case: Any, web: requests.Session, server: str) -> None:
    """Make one request and hold its answer against the description."""
    is_forgiving = case.operation.path in FORGIVING and case.method == "POST"
    excluded = [negative_data_rejection] if is_forgiving else []
    case.call_and_validate(base_url=server, session=web, checks=CHECKS, excluded_checks=excluded, timeout=30)
