"""One picture from a request to its answer. Runs in threads: no session and no pixel on the event loop."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog
from sqlmodel import Session

from api.active_models import ActiveModels
from api.errors import InvalidInput
from api.metrics import Metrics
from api.picture_input import Picture
from api.pool import BoundedPool
from api.schemas.frames import DEFAULT_SOURCE, FrameFields
from api.schemas.score import ScoreAnswer, answer_of
from api.settings import ApiSettings
from db.engine import session_scope
from db.errors import NotFound
from db.queries import webcams
from db.tables import Webcam
from ml.bundle import BundleError
from ml.images.decode import sha256_of
from ml.images.fetch import FetchError, fetch_image
from ml.images.store import FileStore
from ml.judgements import judgement
from worker.settings import worker_settings
from worker.stages.score import Frame, Scored, Served, record_score, score_pixels, unchanged

log = structlog.get_logger("score")
REFUSED_URLS = ("url_blocked", "scheme", "bad_url")
"""Fetching was never tried: the address itself is the caller's mistake. All else is a dead image, which is recorded."""


@dataclass(frozen=True)
class ScoringDesk:
    """What scoring needs of the running API."""

    models: ActiveModels
    store: FileStore
    settings: ApiSettings
    metrics: Metrics
    score_pool: BoundedPool
    fetch_pool: BoundedPool

    async def score(self, kind: str, picture: Picture) -> ScoreAnswer:
        """Fetch if need be, score, and record.

        Raises:
            UnknownKind: There is no such kind.
            NotFound: The named webcam is not known.
            InvalidInput: The address is one that is never fetched.
            Busy: Too many pictures wait already.
        """
        judgement(kind)
        data, failure = picture.data, None
        if data is None and picture.url is not None:
            try:
                data = await self.fetch_pool.run(self._fetch, picture.url)
            except FetchError as error:
                if error.reason in REFUSED_URLS:
                    raise InvalidInput("url", str(error)) from error
                failure = Scored("unscored", reason=f"{error.reason}: {error}")
        began = time.perf_counter()
        answer = await self.score_pool.run(self._answer, kind, data, failure, picture.frame)
        self.metrics.score_seconds.labels(kind).observe(time.perf_counter() - began)
        self.metrics.scores.labels(kind, answer.path_taken).inc()
        return answer

    def _fetch(self, url: str) -> bytes:
        allowed = worker_settings().allowed_hosts
        return fetch_image(url, allow_hosts=allowed, total_s=self.settings.fetch_timeout_s, retries=1)

    def _answer(self, kind: str, data: bytes | None, failure: Scored | None, fields: FrameFields) -> ScoreAnswer:
        served = self.models.served(kind)
        frame, scored = Frame(None, fields.phase, fields.captured_at), failure
        if fields.names_webcam:
            with session_scope() as session:
                frame = Frame(find_named_webcam(session, fields).id, fields.phase, fields.captured_at)
                if data is not None:
                    scored = unchanged(session, served, frame, data)
        if scored is None:
            assert data is not None
            scored = _run_model(served, data)
        with session_scope() as session:
            record_score(
                session, scored, frame, kind=kind, store=self.store, data=data,
                exploration_share=self.settings.exploration_share,
                writes_snapshots=judgement(kind).scores_snapshots,
            )  # fmt: skip
        return answer_of(kind, scored, frame.webcam_id)


def _run_model(served: Served | None, data: bytes) -> Scored:
    try:
        return score_pixels(served, data)
    except BundleError as error:
        log.error("model failed", error=str(error))
        return Scored("unscored", reason=f"the model failed: {error}", image_sha256=sha256_of(data))


def find_named_webcam(session: Session, fields: FrameFields) -> Webcam:
    """The webcam that a request names, by id or by source and its id there.

    Raises:
        NotFound: It is not known; the message says how to add it.
    """
    if fields.webcam is not None:
        source = fields.source or DEFAULT_SOURCE
        webcam = webcams.find_webcam(session, source, fields.webcam)
        if webcam is None:
            raise NotFound(f"there is no webcam {source}/{fields.webcam}: add it with POST /v1/webcams")
        return webcam
    assert fields.webcam_id is not None
    try:
        return webcams.get_webcam(session, fields.webcam_id)
    except NotFound as error:
        raise NotFound(f"there is no webcam {fields.webcam_id}: add it with POST /v1/webcams") from error
