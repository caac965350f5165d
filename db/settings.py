"""Where the state is: database, file store and data directory. Read from the environment, once per process."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StateSettings(BaseSettings):
    """Settings of the `db` package, which every process of Afterglow reads."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    data_dir: Path = Field(Path("var"), validation_alias="AFTERGLOW_DATA_DIR")
    """Directory that holds everything Afterglow keeps on this machine: the private Postgres and Redis, files, logs."""

    database_url: str | None = Field(None, validation_alias="DATABASE_URL", repr=False)
    """Postgres 15 or newer, as `postgresql://user:password@host/name`. Empty: the private one under the data directory."""

    store_url: str | None = Field(None, validation_alias="STORE_URL")
    """Where images and artifacts are kept, as a directory or `s3://bucket/prefix`. Empty: `store` in the data directory."""

    pool_size: int = Field(10, ge=1, validation_alias="AFTERGLOW_DB_POOL_SIZE")
    """Database connections that one process keeps open at most."""

    statement_timeout_s: int = Field(60, ge=1, validation_alias="AFTERGLOW_DB_STATEMENT_TIMEOUT_S")
    """Seconds after which Postgres cancels a statement."""

    postgres_user: str = Field("nobody", validation_alias="AFTERGLOW_POSTGRES_USER")
    """Unprivileged system user that the private Postgres and Redis run as when Afterglow is started as root."""

    @property
    def resolved_data_dir(self) -> Path:
        """The data directory as an absolute path."""
        return self.data_dir.expanduser().resolve()

    @property
    def resolved_store_url(self) -> str:
        """The file store: `STORE_URL`, else the directory `store` in the data directory."""
        return self.store_url or str(self.resolved_data_dir / "store")


@cache
def state_settings() -> StateSettings:
    """The settings of this process."""
    return StateSettings()
