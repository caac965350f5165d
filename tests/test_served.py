"""Which of the machine's Postgres servers `make test-served` takes, and what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import served


def install(place: Path, version: str) -> Path:
    """A directory that looks like the programs of a Postgres of that version."""
    place.mkdir()
    for name in ("initdb", "postgres"):
        program = place / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return place


def test_the_version_is_what_the_server_says(tmp_path: Path) -> None:
    assert served.version_of(install(tmp_path / "a", "15.4 (Debian 15.4-1)")) == 15
    assert served.version_of(install(tmp_path / "b", "beta")) is None
    assert served.version_of(tmp_path / "none") is None


def test_without_one_that_is_new_enough_it_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = install(tmp_path / "old", "14.11")
    (old / "pg_config").write_text(f"#!/bin/sh\necho {old}\n")
    (old / "pg_config").chmod(0o755)
    monkeypatch.setenv("PATH", f"{old}:/usr/bin:/bin")
    monkeypatch.setattr(served, "PLACES", ())
    assert served.main(["tests/none"]) == 1
    said = capsys.readouterr().err
    assert "needs a Postgres 15 or newer" in said
    assert f"14 in {old}" in said


def test_the_oldest_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("14", "15", "17"):
        install(tmp_path / version, f"{version}.1")
    monkeypatch.setattr(served.shutil, "which", {"postgres": str(tmp_path / "17" / "postgres")}.get)
    monkeypatch.setattr(served, "PLACES", (f"{str(tmp_path)[1:]}/*",))
    assert served.find_postgres() == tmp_path / "15"
