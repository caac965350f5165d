"""Registering the tiny bundles of `tests/golden`, and pictures for them."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path

from PIL import Image
from sqlmodel import Session

from db.queries import models
from db.tables import ModelVersion
from ml.bundle import bundle_sha256, load_bundle
from ml.images.store import FileStore
from worker.places import bundle_key
from worker.stages.register import register_version

GOLDEN = Path(__file__).parent / "golden"
BRIGHT, DARK, YES = GOLDEN / "tiny_bundle", GOLDEN / "tiny_bundle_dark", GOLDEN / "tiny_bundle_yes"


def register_bundle(session: Session, store: FileStore, directory: Path = BRIGHT) -> ModelVersion:
    """Make a bundle a registered version of its kind, as the job does."""
    bundle, digest = load_bundle(directory), bundle_sha256(directory)
    store.put_directory(directory, bundle_key(digest))
    run = models.add_run(session, model_version=bundle.model_version, kind=bundle.kind, status="trained")
    register_version(session, run, bundle, digest)
    return models.get_version(session, bundle.model_version)


def activate(session: Session, version: ModelVersion) -> None:
    """Promote a version without asking the gate."""
    models.add_activation(
        session, kind=version.kind, model_version=version.model_version, action="promote", forced=True,
        verdict={}, activated_by="test",
    )  # fmt: skip


def picture(level: int, *, size: int = 40, media: str = "PNG") -> bytes:
    """A flat picture whose tiny score is `level / 255`; every call makes other bytes, so that no two are the same."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (size, size), (level, level, level))
    if media == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("id", uuid.uuid4().hex)
        image.save(buffer, "PNG", pnginfo=info)
    else:
        image.save(buffer, media, comment=uuid.uuid4().hex.encode())
    return buffer.getvalue()


def foreign_bundle(target: Path, version: str) -> Path:
    """A copy of the tiny bundle whose description names another version; its graph still names the old one."""
    for source in BRIGHT.rglob("*"):
        if source.is_file():
            copy = target / source.relative_to(BRIGHT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    description = target / "bundle.json"
    facts = json.loads(description.read_text()) | {"model_version": version}
    description.write_text(json.dumps(facts))
    return target
