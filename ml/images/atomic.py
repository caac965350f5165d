"""Files and directories that appear whole, on the disk and not only in memory, or not at all."""

import errno
import os
import uuid
from pathlib import Path

# What a process that died leaves behind starts so and may be deleted.
TEMPORARY = ".part-"


def write_flushed(path: Path, data: bytes) -> None:
    """Write a new file and its folders, down to the disk; FileExistsError if the name is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def write_once(final: Path, data: bytes) -> None:
    """Make a file appear whole; FileExistsError if the name is taken."""
    part = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        write_flushed(part, data)
        try:
            os.link(part, final)
        except OSError as error:
            # Some mounts have no hard links. Renaming could replace a file that appeared this instant; for
            # content-addressed names that would be the same bytes.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK) or final.exists():
                raise
            os.rename(part, final)
        flush_directory(final.parent)
    finally:
        part.unlink(missing_ok=True)


def write_over(final: Path, data: bytes) -> None:
    """Make a file appear whole in place of what has its name, which stays as it is when this fails."""
    part = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        write_flushed(part, data)
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)


def rename_directory(part: Path, final: Path) -> None:
    """Give a finished directory its name; FileExistsError if the name is taken by anything but an empty directory."""
    for folder in [part, *(path for path in part.rglob("*") if path.is_dir())]:
        flush_directory(folder)
    try:
        os.rename(part, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(error.errno, "the name is taken", str(final)) from error
        raise
    flush_directory(final.parent)


def flush_directory(path: Path) -> None:
    """Make the names in a directory durable: a rename is atomic, but not on the disk before this."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
