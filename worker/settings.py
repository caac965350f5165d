"""Settings of the worker package: the broker, leases and how jobs are run."""

from functools import cache

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.cron import CronError, read_cron


class WorkerSettings(BaseSettings):
    """Settings of the processes that do the work: dispatcher, Celery workers, beat and the command line."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    redis_url: str | None = Field(None, validation_alias="REDIS_URL")
    """Redis 7 or newer, as `redis://host:6379/0`. Empty: the private one under the data directory."""

    lease_s: float = Field(60.0, gt=0, validation_alias="AFTERGLOW_JOB_LEASE_S")
    """Seconds that a worker owns a job without a heartbeat; at least six heartbeats."""

    heartbeat_s: float = Field(10.0, gt=0, validation_alias="AFTERGLOW_JOB_HEARTBEAT_S")
    """Seconds between two heartbeats of a running job."""

    max_attempts: int = Field(3, ge=1, validation_alias="AFTERGLOW_JOB_MAX_ATTEMPTS")
    """How often a job is started before it is given up as dead."""

    backoff_s: float = Field(5.0, ge=0, validation_alias="AFTERGLOW_JOB_BACKOFF_S")
    """A failed attempt is tried again after this many seconds times 2^attempt, plus up to half of that at random."""

    dispatch_interval_s: float = Field(2.0, gt=0, validation_alias="AFTERGLOW_DISPATCH_INTERVAL_S")
    """Seconds between two looks of the dispatcher for queued jobs, when no notification comes."""

    redispatch_s: float = Field(60.0, gt=0, validation_alias="AFTERGLOW_REDISPATCH_S")
    """Seconds after which a queued job that nobody claimed is published again (its message may be lost)."""

    cancel_grace_s: float = Field(20.0, gt=0, validation_alias="AFTERGLOW_CANCEL_GRACE_S")
    """Seconds that a cancelled training process has to end by itself before it is killed."""

    train_threads: int = Field(2, ge=1, validation_alias="AFTERGLOW_TRAIN_THREADS")
    """CPU threads of a training process; recorded with the run, since it changes the weights."""

    train_memory_mib: int = Field(0, ge=0, validation_alias="AFTERGLOW_TRAIN_MEMORY_MIB")
    """MiB of memory that a training, export or evaluation process may hold before it is ended; 0 is no limit."""

    checkpoint_s: float = Field(10.0, ge=0, validation_alias="AFTERGLOW_CHECKPOINT_S")
    """Seconds between two checkpoints of a training at least; 0 for one after every epoch."""

    keep_work_h: float = Field(24.0, ge=0, validation_alias="AFTERGLOW_KEEP_WORK_H")
    """Hours that the files of a job which did not succeed stay: its work directory and its run's checkpoints."""

    fetch_allow_hosts: str = Field("", validation_alias="AFTERGLOW_FETCH_ALLOW_HOSTS")
    """Comma-separated `host:port` pairs in private networks that images may be fetched from (a webcam in the LAN)."""

    evaluate_cron: str = Field("30 2 * * *", validation_alias="AFTERGLOW_EVALUATE_CRON")
    """When each kind that a version serves has an evaluation cycle: a cron expression in UTC (minute, hour, day of the month,
    month, day of the week); `off` for none but those that somebody asks for."""

    retain_frames_days: float = Field(365.0, ge=1, le=36500, validation_alias="AFTERGLOW_RETAIN_FRAMES_DAYS")
    """Days that the image of a frame stays which no person touched and no dataset or training names."""

    retain_events_days: float = Field(365.0, ge=1, le=36500, validation_alias="AFTERGLOW_RETAIN_EVENTS_DAYS")
    """Days that an attempt to score stays which names no snapshot; exploration and coverage are measured from them."""

    retain_every_h: float = Field(0.0, ge=0, validation_alias="AFTERGLOW_RETAIN_EVERY_H")
    """Hours between two scheduled removals of what is older than that; 0 for none but those that somebody asks for."""

    shadow_every_min: float = Field(15.0, ge=0, validation_alias="AFTERGLOW_SHADOW_EVERY_MIN")
    """Minutes between two looks of the clock for frames that a shadow has yet to score; 0 for none."""

    @field_validator("evaluate_cron")
    @classmethod
    def _is_read(cls, value: str) -> str:
        try:
            if value != "off":
                read_cron(value)
        except CronError as error:
            raise PydanticCustomError("cron", "{why}, or 'off' for never", {"why": str(error)}) from error
        return value

    @property
    def evaluates(self) -> bool:
        """Whether the clock submits evaluation cycles."""
        return self.evaluate_cron != "off"

    photo_roots: str = Field("", validation_alias="AFTERGLOW_PHOTO_ROOTS")
    """Comma-separated absolute directories below which photos may be scanned over HTTP. Empty: only by command."""

    scan_threads: int = Field(2, ge=1, validation_alias="AFTERGLOW_SCAN_THREADS")
    """Threads of a scan that read and decode photos."""

    @property
    def photo_root_list(self) -> tuple[str, ...]:
        """The directories of `photo_roots`."""
        return tuple(part.strip() for part in self.photo_roots.split(",") if part.strip())

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The `host:port` pairs of `fetch_allow_hosts`."""
        return frozenset(part.strip() for part in self.fetch_allow_hosts.split(",") if part.strip())


class ServingSettings(BaseSettings):
    """What is served and which frames are kept: read by the API and by the command that scores."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        protected_namespaces=(),
    )

    model_version: str | None = Field(None, validation_alias="AI_MODEL_VERSION")
    """Version that serves its kind, whatever is promoted; an unknown one refuses to start. Empty: the active one."""

    rating_threshold: float | None = Field(None, validation_alias="AI_RATING_THRESHOLD")
    """Threshold of the capture gate on the served model's own scale. Empty: the one that the model carries."""

    max_latency_ms: float = Field(500.0, gt=0, validation_alias="AFTERGLOW_MAX_LATENCY_MS")
    """Milliseconds that a model may take for an image on one thread, decoding included, to be promoted."""

    exploration_share: float = Field(0.02, ge=0, le=1, validation_alias="AFTERGLOW_EXPLORATION_SHARE")
    """Share of frames below the threshold that is kept all the same, so that recall can be measured."""

    tick_image_s: float = Field(3.0, gt=0, validation_alias="AFTERGLOW_TICK_IMAGE_S")
    """Seconds after which one image of a tick is given up."""

    tick_total_s: float = Field(50.0, gt=0, validation_alias="AFTERGLOW_TICK_TOTAL_S")
    """Seconds that a tick takes in all; what is not scored by then is answered as `unscored`, reason `deadline`."""

    tick_at_once: int = Field(16, ge=1, validation_alias="AFTERGLOW_TICK_AT_ONCE")
    """Images that a tick fetches at the same time; of these never more than two from one host."""

    tick_backoff_s: float = Field(600.0, gt=0, validation_alias="AFTERGLOW_TICK_BACKOFF_S")
    """Seconds that a webcam is left alone after its image could not be fetched; twice that after the second time, and
    so on."""

    tick_backoff_max_s: float = Field(21600.0, gt=0, validation_alias="AFTERGLOW_TICK_BACKOFF_MAX_S")
    """Seconds that a webcam whose image cannot be fetched is left alone at most."""


class TerminalSettings(BaseSettings):
    """Settings of the command line alone. They come from the environment: a key has no place in a file."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    url: str = Field("http://127.0.0.1:8000", validation_alias="AFTERGLOW_URL")
    """Address of the server that `afterglow tick` asks."""

    key: str = Field("", validation_alias="AFTERGLOW_KEY", repr=False)
    """Key that it shows there; only from the environment."""

    debug: bool = Field(False, validation_alias="AFTERGLOW_DEBUG")
    """Print errors with their traces, as `--debug` does."""


@cache
def worker_settings() -> WorkerSettings:
    """The settings of this process."""
    return WorkerSettings()
