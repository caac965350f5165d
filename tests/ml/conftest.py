"""One real training and one real export in fresh processes, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.ml.tiny_training import TinyDataset, make_dataset, run_export, run_train


class Trained(NamedTuple):
    """A finished verb: where it wrote, and what it said."""

    directory: Path
    events: list[dict[str, Any]]


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def trained(tiny_dataset: TinyDataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("trained") / "run"
    status, events = run_train(tiny_dataset, out, tiny_dataset.directory / "cache")
    assert status == 0, events
    return Trained(out, events)


@pytest.fixture(scope="session")
def exported(tiny_dataset: TinyDataset, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("exported") / "bundle"
    status, events = run_export(tiny_dataset, trained.directory, out, "sunset_v2_2026_02_12")
    assert status == 0, events
    return Trained(out, events)
