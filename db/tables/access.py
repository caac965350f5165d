"""Who may call: API keys, stored as hashes, and what a key may do."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, sha256_check, time_column


class Scope(StrEnum):
    """What a key may do beside reading, which every valid key may. A key's scopes never change: make another key."""

    allows: str
    """One sentence for people: what a key with this scope may do."""

    def __new__(cls, value: str, allows: str = "") -> "Scope":
        """A scope and its sentence."""
        scope = str.__new__(cls, value)
        scope._value_ = value
        scope.allows = allows
        return scope

    SCORE = "score", "score pictures, which writes scores and captures frames"
    INGEST = "ingest", "add webcams and snapshots"
    RATE = "rate", "rate snapshots and take ratings back, in the name of any rater"
    TRAIN = "train", "export datasets, train, register, evaluate, promote and roll back models, cancel and retry jobs"
    ADMIN = "admin", "everything, and make, list and revoke keys"


SCOPES = tuple(scope.value for scope in Scope)


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
