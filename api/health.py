"""Whether this server can do its work."""

from __future__ import annotations

from functools import cache
from typing import Any

import structlog
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from api.active_models import ActiveModels
from db.engine import alembic_directory, session_scope
from db.errors import NoDatabase
from db.queries import jobs

log = structlog.get_logger("health")


class Readiness(BaseModel):
    """What this server has and lacks."""

    ready: bool
    database: bool
    """It answered just now."""
    migrations: dict[str, Any]
    """`current` and `head` revision; they must be the same."""
    queue_depth: int | None
    """Jobs that wait."""
    jobs: dict[str, int] | None
    """State -> number of jobs."""
    models: dict[str, str]
    """Kind -> version that answers."""
    pinned: str | None
    errors: list[str]


@cache
def head_revision() -> str | None:
    """The newest migration of this release."""
    config = Config()
    config.set_main_option("script_location", str(alembic_directory()))
    return ScriptDirectory.from_config(config).get_current_head()


def readiness(models: ActiveModels) -> Readiness:
    """Look at the database and the models."""
    errors, current, counts = [], None, None
    try:
        with session_scope() as session:
            current = MigrationContext.configure(session.connection()).get_current_revision()
            counts = jobs.count_jobs(session) if current is not None else None
    except NoDatabase as error:
        errors.append(str(error))
    except SQLAlchemyError as error:
        log.warning("not ready", error=str(error).splitlines()[0])
        errors.append("the database does not answer")
    head = head_revision()
    database = not errors
    if database and current != head:
        errors.append(f"the database is at migration {current}, this release needs {head}: run `make migrate`")
    has_database = not errors
    errors += models.errors()
    served = models.served_versions()
    lacks_model = bool(models.missing_kinds()) or (models.pinned is not None and models.pinned not in served.values())
    return Readiness(
        ready=has_database and not lacks_model,
        database=database,
        migrations={"current": current, "head": head},
        queue_depth=counts.get("queued", 0) if counts is not None else None,
        jobs=counts,
        models=served,
        pinned=models.pinned,
        errors=errors,
    )
