"""Who may call: API keys and logins, stored as hashes, and what they may do."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, reference, sha256_check, time_column


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


class Login(SQLModel, table=True):
    """One person at the pages: asked for by a one-time link or opened with a key, and what that person may do."""

    __tablename__ = "logins"
    __table_args__ = (
        CheckConstraint(sha256_check("link_sha256"), name="link_sha256"),
        CheckConstraint(sha256_check("secret_sha256"), name="secret_sha256"),
        CheckConstraint("(link_sha256 IS NULL) = (link_expires_at IS NULL)", name="link_expires"),
        CheckConstraint("(secret_sha256 IS NULL) = (opened_at IS NULL)", name="opened"),
        CheckConstraint("(expires_at IS NULL) = (opened_at IS NULL)", name="expires"),
    )

    id: int | None = bigint_key()
    rater: str
    """In whose name this login rates."""
    scopes: list[str] = Field(sa_column=Column(ARRAY(String), nullable=False))
    api_key_id: int | None = reference("api_keys.id", nullable=True)
    """The key that opened it, with which it ends; null where a link did."""
    link_sha256: str | None = Field(default=None, unique=True)
    link_expires_at: Moment | None = time_column(nullable=True)
    secret_sha256: str | None = Field(default=None, unique=True)
    """Of what the browser's cookie holds; null until the link is used."""
    created_at: Moment | None = time_column(now=True)
    opened_at: Moment | None = time_column(nullable=True)
    expires_at: Moment | None = time_column(nullable=True)
    ended_at: Moment | None = time_column(nullable=True)
    """When somebody logged out, or ended it from elsewhere."""
