"""Which rows need an image is read off the tables themselves."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table
from sqlmodel import SQLModel

from db.queries import retention


def test_a_table_that_is_added_later_protects_what_it_names() -> None:
    metadata = MetaData()
    Table("webcam_snapshots", metadata, Column("id", Integer, primary_key=True))
    Table("found", metadata, Column("shot", Integer, ForeignKey("webcam_snapshots.id")), Column("other", Integer))
    assert retention.naming(metadata, "webcam_snapshots.id") == [("found", "shot")]


def test_only_what_models_said_does_not_protect() -> None:
    tables = {table for table, _ in retention.naming(SQLModel.metadata, "webcam_snapshots.id")}
    assert set(retention.NOT_PROTECTING) < tables and set(retention.WORDS) < tables
    for table in tables - set(retention.NOT_PROTECTING):
        assert f"FROM {table} n" in retention._REASON
