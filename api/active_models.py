"""The models that are served. One thread follows the database; a request only reads a reference."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.engine import listening, session_scope
from db.errors import NoDatabase, NotFound
from db.queries import models
from db.tables import ModelVersion
from ml.bundle import BundleError
from ml.images.store import FileStore, StoreError
from ml.judgements import UnknownKind, judgement
from ml.thresholds import ThresholdError
from worker.stages.score import NO_MODEL
from worker.stages.served import Served, load_served

log = structlog.get_logger("active_models")
POLL_S = 2.0
"""Seconds between two looks at the database when no notification comes."""
LISTEN_SLICE_S = 0.25
"""Seconds that a stop may have to wait for the listening thread."""
RETRY_S = 30.0
"""Seconds after which a version that could not be loaded is tried again: its store may have been away."""
_LOAD_ERRORS = (BundleError, StoreError, ThresholdError, UnknownKind)
_DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error, NoDatabase)


class CannotServe(Exception):
    """The settings ask for a model that cannot be served; the API does not start."""


class ActiveModels:
    """Kind -> loaded and self-tested model, swapped as a whole.

    Args:
        store: Where bundles are.
        cache: Directory for bundles of a remote store.
        pinned: Version that serves its kind whatever is promoted.
        threshold: Replaces the threshold of models that feed the capture gate.
    """

    def __init__(
        self, store: FileStore, cache: Path, *, pinned: str | None = None, threshold: float | None = None
    ) -> None:
        self._store = store
        self._cache = cache
        self.pinned = pinned
        self.threshold = threshold
        self._served: dict[str, Served] = {}
        self._wanted: dict[str, str] = {}
        self._failures: dict[str, tuple[str, float, str]] = {}
        self._pin_problem: str | None = None
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def served(self, kind: str) -> Served | None:
        """The model that answers for a kind now."""
        return self._served.get(kind)

    def served_versions(self) -> dict[str, str]:
        """Kind -> version that answers now."""
        return {kind: served.model_version for kind, served in self._served.items()}

    def missing_kinds(self) -> list[str]:
        """Kinds that have an active version, but none that could be loaded."""
        return sorted(set(self._wanted) - set(self._served))

    def reason(self, kind: str) -> str:
        """Why no model answers for a kind now: one that is active could not be loaded, or there is none."""
        failure = self._failures.get(kind)
        return NO_MODEL if failure is None else failure[2]

    def errors(self) -> list[str]:
        """Why versions that should serve do not."""
        failures = [message for _, _, message in self._failures.values()]
        return failures if self._pin_problem is None else [self._pin_problem, *failures]

    def start(self) -> None:
        """Load what is active and follow changes from now on.

        Raises:
            CannotServe: The pinned version is unknown or cannot be loaded, or the threshold is not on the scale.
        """
        try:
            self.refresh()
        except NotFound as error:
            raise CannotServe(f"AI_MODEL_VERSION={self.pinned} cannot be served. {error}") from error
        except _DATABASE_ERRORS as error:
            log.warning("starting without the database", error=_first_line(error))
        if (self.pinned is not None or self.threshold is not None) and self.errors():
            raise CannotServe(f"the API does not start with these settings: {'; '.join(self.errors())}")
        self._thread = threading.Thread(target=self._follow, name="active-models", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def refresh(self) -> None:
        """Ask which versions are active and load those that are not served yet.

        Raises:
            NotFound: The pinned version is not registered.
        """
        with self._refreshing:
            with session_scope() as session:
                wanted = models.active_versions(session)
                if self.pinned is not None:
                    wanted[models.get_version(session, self.pinned).kind] = self.pinned
                due = [models.get_version(session, name) for kind, name in wanted.items() if self._is_due(kind, name)]
            loaded = {version.kind: served for version in due if (served := self._load(version)) is not None}
            self._failures = {
                kind: failure for kind, failure in self._failures.items() if wanted.get(kind) == failure[0]
            }
            self._wanted = wanted
            self._pin_problem = None
            self._served = {**self._served, **loaded}

    def _is_due(self, kind: str, name: str) -> bool:
        current = self._served.get(kind)
        if current is not None and current.model_version == name:
            self._failures.pop(kind, None)
            return False
        failure = self._failures.get(kind)
        return failure is None or failure[0] != name or time.monotonic() - failure[1] >= RETRY_S

    def _load(self, version: ModelVersion) -> Served | None:
        try:
            gates = judgement(version.kind).scores_snapshots
            served = load_served(version, self._store, self._cache, self.threshold if gates else None)
        except _LOAD_ERRORS as error:
            message = f"{version.kind} model {version.model_version} is not served: {error}"
            self._failures[version.kind] = (version.model_version, time.monotonic(), message)
            log.error("model not served", version=version.model_version, error=str(error))
            return None
        log.info("model served", kind=version.kind, version=version.model_version)
        self._failures.pop(version.kind, None)
        return served

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                with listening(models.MODELS_CHANNEL) as connection:
                    while not self._stop.is_set():
                        self.refresh()
                        self._wait(connection)
            except NotFound as error:
                # Only when the database was away at the start, or it would not have started.
                self._pin_problem = f"AI_MODEL_VERSION={self.pinned} cannot be served. {error}"
                log.error("pinned model is unknown", error=str(error))
                self._stop.wait(POLL_S)
            except _DATABASE_ERRORS as error:
                log.warning("waiting for the database", error=_first_line(error))
                self._stop.wait(POLL_S)
            except Exception:  # the thread must outlive what nobody thought of: without it no promotion arrives
                log.exception("following the active models failed")
                self._stop.wait(POLL_S)

    def _wait(self, connection: psycopg.Connection) -> None:
        until = time.monotonic() + POLL_S
        while not self._stop.is_set() and time.monotonic() < until:
            for _ in connection.notifies(timeout=LISTEN_SLICE_S, stop_after=1):
                return


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
