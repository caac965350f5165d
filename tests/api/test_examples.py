"""The documented examples do what the description says they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from api.errors import Problem
from api.main import create_app
from api.schemas.score import ScoreAnswer
from tests.api.builders import zipped
from tests.tiny_model import foreign_bundle


def documented() -> Iterator[tuple[str, str, Any, set[int]]]:
    """(method, path, JSON example, documented good status codes) of every example in the description."""
    description = create_app().openapi()
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            good = {int(code) for code in operation["responses"] if code.startswith("2")}
            if content is None:
                continue
            examples = [each["value"] for each in content.get("examples", {}).values()]
            for reference in (content["schema"], *content["schema"].get("anyOf", ())):
                name = reference.get("$ref", "").rpartition("/")[2]
                examples += description["components"]["schemas"].get(name, {}).get("examples", [])
            assert examples, f"{method} {path} takes JSON and shows no example"
            for example in examples:
                yield method.upper(), path, example, good


EXAMPLES = list(documented())


def test_there_are_examples_for_every_route_that_takes_json() -> None:
    assert len(EXAMPLES) >= 10
    assert {path for _, path, _, _ in EXAMPLES} >= {
        "/v1/score", "/v1/score/batch", "/v1/webcams", "/v1/snapshots/{snapshot_id}/ratings", "/v1/datasets",
        "/v1/training-runs", "/v1/models/{model_version}/promote", "/v1/models/rollback",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "example", "good"), EXAMPLES, ids=[f"{m} {p} {n}" for n, (m, p, _, _) in enumerate(EXAMPLES)]
)
def test_an_example_is_answered_as_documented(
    client: httpx.Client, ids: dict[str, str], method: str, path: str, example: Any, good: set[int]
) -> None:
    answer = client.request(method, path.format(**ids), json=example)
    assert answer.status_code in good, answer.text


def test_every_get_is_answered_as_documented(client: httpx.Client, ids: dict[str, str]) -> None:
    for path, operations in create_app().openapi()["paths"].items():
        if "get" not in operations:
            continue
        answer = client.get(path.format(**ids))
        assert answer.status_code == 200, (path, answer.text)
        described = operations["get"]["responses"]["200"]["content"]
        assert answer.headers["content-type"].partition(";")[0] in described, path


def test_the_registration_example_is_taken(client: httpx.Client, ids: dict[str, str], tmp_path: Any) -> None:
    operation = create_app().openapi()["paths"]["/v1/training-runs/register"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    run = schema["properties"]["run"]["contentSchema"]["examples"][0]
    run["labels"][0]["snapshot_id"] = int(ids["snapshot_id"])
    bundle = zipped(foreign_bundle(tmp_path, run["model_version"]))
    answer = client.post("/v1/training-runs/register", data={"run": json.dumps(run)}, files={"bundle": bundle})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("model", [ScoreAnswer, Problem])
def test_answers_shown_are_answers_that_can_be(model: Any) -> None:
    for example in model.model_json_schema()["examples"]:
        parsed = TypeAdapter(model).validate_python(example)
        dumped = parsed.model_dump(mode="json", by_alias=True)
        assert {key: dumped[key] for key in example} == example
