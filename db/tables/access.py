"""Who may call: API keys, stored as hashes."""

from sqlalchemy import CheckConstraint, Column, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, sha256_check, time_column

SCOPES = ("score", "ingest", "rate", "train", "admin")


class ApiKey(SQLModel, table=True):
    """One key: its public part, the hash of its secret, and what it may do."""

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint(sha256_check("secret_sha256"), name="secret_sha256"),)

    id: int | None = bigint_key()
    key_id: str = Field(unique=True)
    secret_sha256: str
    name: str
    scopes: list[str] = Field(sa_column=Column(ARRAY(String), nullable=False))
    created_at: Moment | None = time_column(now=True)
    expires_at: Moment | None = time_column(nullable=True)
    revoked_at: Moment | None = time_column(nullable=True)
    last_used_at: Moment | None = time_column(nullable=True)
