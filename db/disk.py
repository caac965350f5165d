"""What a disk refuses, in plain words: it is full, read-only, or not ours to write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

MIN_FREE_BYTES = 64 * 2**20
"""With less, a start that failed is likely to have failed for want of space: a new cluster takes about 45 MiB, a segment
of its log 16 MiB."""


def plain_reason(error: OSError) -> str:
    """What the operating system refused, where, and what to do when that is known."""
    place = error.filename if error.filename is not None else "the data directory"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk is full: no space left for {place}. Make space and start again."
        case errno.EROFS:
            return f"{place} is on a read-only file system: mount it for writing, or choose another AFTERGLOW_DATA_DIR."
        case errno.EACCES | errno.EPERM:
            return (
                f"{place} may not be used by user {os.geteuid()}: run as the user whom it belongs to, "
                "or choose another AFTERGLOW_DATA_DIR."
            )
        case errno.ENOTDIR | errno.EEXIST | errno.ENOENT:
            return f"{place} cannot be made: a part of its path is no directory. Choose another AFTERGLOW_DATA_DIR."
        case _:
            return str(error)


def note_if_full(place: Path) -> list[str]:
    """One sentence if the disk of `place` is all but full, else nothing. Of a place that is not there, its nearest parent."""
    while not place.exists() and place != place.parent:
        place = place.parent
    disk = shutil.disk_usage(place)
    free = disk.free
    if free >= MIN_FREE_BYTES or not disk.total:  # a file system that holds no files has no size
        return []
    return [f"The disk of {place} is full or almost so ({free // 2**20} MiB left): make space and start again."]
