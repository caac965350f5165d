"""What is in the database: keys, and the model that serves each kind; and where pretrained weights come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from worker.cli.checks.finding import Finding, Place, ok, unknown, warning
from worker.cli.checks.services import NOT_RUNNING, plain_url

WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors")


def check_keys(place: Place) -> Iterator[Finding]:
    """API keys that are valid now."""
    import psycopg

    make = "afterglow keys create --scopes score,rate"
    if place.database_url is None:
        yield unknown("keys", NOT_RUNNING, make)
        return
    try:
        with psycopg.connect(plain_url(place.database_url), connect_timeout=5) as connection:
            rows = connection.execute("SELECT expires_at, revoked_at FROM api_keys").fetchall()
    except psycopg.Error:
        yield unknown("keys", "The database has no keys table yet.", make)
        return
    now = datetime.now(UTC)
    valid = [expires for expires, revoked in rows if revoked is None and (expires is None or expires > now)]
    if valid:
        yield ok("keys", f"{len(valid)} valid of {len(rows)}.", "afterglow keys list")
    else:
        ended = f" ({len(rows)} are revoked or expired)" if rows else ""
        yield warning("keys", f"There is no valid API key{ended}, so nobody can call the server.", make)


def check_models(place: Place) -> Iterator[Finding]:
    """The active model of each kind, and whether its bundle is in the store."""
    import psycopg

    from ml.judgements import kinds

    if place.database_url is None:
        yield unknown("models", NOT_RUNNING, "afterglow models")
        return
    query = """
        SELECT DISTINCT ON (kind) kind, model_version FROM model_activations ORDER BY kind, id DESC
    """
    try:
        with psycopg.connect(plain_url(place.database_url), connect_timeout=5) as connection:
            active: dict[str, str] = dict(connection.execute(query).fetchall())
            newest: dict[str, str] = dict(
                connection.execute(
                    "SELECT DISTINCT ON (kind) kind, model_version FROM model_versions ORDER BY kind, id DESC"
                ).fetchall()
            )
    except psycopg.Error:
        yield unknown("models", "The database has no models table yet.", "afterglow migrate")
        return
    for kind in kinds():
        if kind in active:
            yield ok(f"model of {kind}", f"{active[kind]} is active.")
        elif kind in newest:
            yield warning(f"model of {kind}", f"None is active; {newest[kind]} is the newest version.",
                          f"afterglow promote {newest[kind]}")  # fmt: skip
        else:
            yield warning(f"model of {kind}", "There is none yet, so images are answered as unscored.",
                          f"afterglow import snapshots FILE.csv, then afterglow train {kind}")  # fmt: skip


def check_weights(place: Place) -> Iterator[Finding]:
    """Pretrained weights of backbones: downloaded before, or given as files."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "torch"
    folder = Path(home).expanduser() / "hub" / "checkpoints"
    stored = place.data_dir / "store" / "weights"
    files = [each.name for each in sorted(folder.glob("*")) if each.suffix in WEIGHT_SUFFIXES]
    given = len([each for each in stored.glob("*") if each.suffix in WEIGHT_SUFFIXES])
    if files:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        yield ok("weights", f"ImageNet weights are in {folder}: {', '.join(files[:3])}{more}.")
    elif given:
        yield ok("weights", f"Files of weights in the store: {given}.")
    else:
        yield warning(
            "weights", "No pretrained weights are here, so training begins from random ones unless told otherwise.",
            "afterglow train rating --set weights=imagenet (needs network), or --set weights=FILE.pth",
        )  # fmt: skip
