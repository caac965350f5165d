"""What /metrics shows."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from db.tables.jobs import STATES

BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds in seconds; 3 s is what a webcam tick allows for one image."""


class Metrics:
    """Counters of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._by_score: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "afterglow_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "afterglow_http_request_seconds", "Seconds to answer a request.", ["route"],
            buckets=BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.scores = Counter(
            "afterglow_scores", "Attempts to score, by how the answer came about.", ["kind", "path_taken"],
            registry=self.registry,
        )  # fmt: skip
        self.score_seconds = Histogram(
            "afterglow_score_seconds", "Seconds to score one image, waiting and rows included, fetching not.", ["kind"],
            buckets=BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.jobs = Gauge("afterglow_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self.database_up = Gauge("afterglow_database_up", "1 when the database answered.", registry=self.registry)

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (method, route, status)
        found = self._by_request.get(key)
        if found is None:
            # Looking a counter up by its labels costs several times what counting does.
            found = self.requests.labels(method, route, str(status)), self.request_seconds.labels(route)
            self._by_request[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def count_score(self, kind: str, path_taken: str) -> None:
        """Count one attempt to score whose time was nobody's to wait for."""
        self.scores.labels(kind, path_taken).inc()

    def note_score(self, kind: str, path_taken: str, seconds: float) -> None:
        """Count one attempt to score."""
        found = self._by_score.get((kind, path_taken))
        if found is None:
            found = self.scores.labels(kind, path_taken), self.score_seconds.labels(kind)
            self._by_score[kind, path_taken] = found
        found[0].inc()
        found[1].observe(seconds)

    def set_jobs(self, counts: Mapping[str, int] | None) -> None:
        """Take over the number of jobs by state; None when the database did not answer."""
        self.database_up.set(0 if counts is None else 1)
        if counts is None:
            self.jobs.clear()
            return
        for state in STATES:
            self.jobs.labels(state).set(counts.get(state, 0))

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
