"""What several tests of the API put there first."""

from __future__ import annotations

import io
import uuid
import zipfile
from pathlib import Path
from typing import Any

import httpx
from sqlmodel import Session, select

from db.engine import session_scope
from db.queries import evaluations
from db.tables import ModelVersion
from ml.images.store import FileStore
from ml.suspects import TOO_HIGH, Suspect, suspects_bytes
from tests.ml.gate_reports import audit_of, gate_report
from tests.tiny_model import picture


def add_snapshot(client: httpx.Client) -> dict[str, Any]:
    webcam = client.post("/v1/webcams", json={"external_id": uuid.uuid4().hex}).json()
    params = {"webcam_id": webcam["id"], "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
    snapshot: dict[str, Any] = client.post("/v1/snapshots", content=picture(60), params=params).json()
    return snapshot


def count(session: Session, table: type) -> int:
    session.rollback()
    return len(session.exec(select(table)).all())


def zipped(directory: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(directory).as_posix())
    return buffer.getvalue()


def evaluation_report(better: bool) -> dict[str, Any]:
    rows = [
        {
            "name": "tiny_yes",
            "role": "model",
            "metrics": {"mae": 0.5 if better else 1.5},
            "intervals": {"mae": [0.4, 0.6]},
        },
        {"name": "predict the mean", "role": "baseline", "metrics": {"mae": 1.0}, "intervals": {"mae": [0.9, 1.1]}},
    ]
    sign = -1.0 if better else 1.0
    comparison = {
        "against": "predict the mean", "better": better, "difference": sign * 0.5,
        "interval": sorted([sign * 0.3, sign * 0.7]), "probability_better": float(better),
    }  # fmt: skip
    subset = {"n": 120, "n_groups": 12, "rows": rows, "comparisons": [comparison]}
    primary = {"name": "mae", "higher_is_better": False, "best": 0.0}
    return {
        "model_version": "tiny_yes", "headline": "not seen", "primary": primary, "subsets": {"not seen": subset},
        "gate": gate_report(with_active=False)["gate"], "audit": audit_of(),
    }  # fmt: skip


def evaluate(version: ModelVersion, better: bool, artifact_key: str = "reports/x") -> int | None:
    with session_scope() as session:
        row = evaluations.add_evaluation(
            session, model_version=version.model_version, kind="rating", manifest_sha256="0" * 64, method="test",
            report=evaluation_report(better), artifact_key=artifact_key,
        )  # fmt: skip
    return row.id


def store_report(store: FileStore, folder: Path, key: str = "reports/x") -> dict[str, bytes]:
    """Files as an evaluation leaves them; returns what they hold."""
    files = {
        "report.html": b"<!DOCTYPE html><title>v\xc3\xa9</title>",
        "report.json": b'{"headline": "not seen"}\n',
        "suspects.csv": suspects_bytes(
            [Suspect(rank, 40 - rank, "0" * 64, "test", 5.0, 1.0, -4.0, 3.5 - rank, TOO_HIGH, 1, "ann", "the model")
             for rank in (1, 2, 3)]
        ),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    store.put_directory(folder, key)
    return files
