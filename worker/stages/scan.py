"""Scan: take the photos under a directory into a project. Files are only read; what is known and unchanged is not read.

Photos are written in chunks, each a transaction of its own, in order of their paths: a scan that is killed goes on where it
was, and ends with the same rows. A photo is its content: under another path it is the same one, and the path an alias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from db.engine import session_scope
from db.queries import photos
from ml.images.photo_files import Folder, PhotoFile, UnreadablePhoto, file_mark, read_photo, walk
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import check_photo_directory
from worker.settings import worker_settings

PHOTOS_AT_ONCE = 200
"""Photos of one transaction."""
NAMED_IN_RESULT = 100
"""Files that a job's result names; all are counted by reason."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LeftOut:
    """A file that was not taken, or a companion whose image nobody knows."""

    path: str
    reason: str


@dataclass
class ScanReport:
    """What a scan did. `read + unchanged + len(unreadable)` is the number of image files."""

    project: str
    directory: str
    images: int = 0
    read: int = 0
    unchanged: int = 0
    """Not read again, since path, size and time of the last change are known."""
    photos_added: int = 0
    paths_added: int = 0
    """New paths of new photos and of known ones."""
    companions_added: int = 0
    unreadable: list[LeftOut] = field(default_factory=list)
    """Image files that are not taken."""
    others: list[LeftOut] = field(default_factory=list)
    """What is no image file and was left out: links, companions that could be of two images."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """The same with the first files only, and all counted by reason."""
        whole = self.to_json()
        for name in ("unreadable", "others"):
            whole[f"{name}_by_reason"] = dict(Counter(each.reason for each in getattr(self, name)).most_common(50))
            whole[f"num_{name}"] = len(whole[name])
            whole[name] = whole[name][:NAMED_IN_RESULT]
        return whole


@dataclass(frozen=True)
class _Found:
    """One image file."""

    folder: str
    name: str
    companions: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.place(self.name)

    def place(self, name: str) -> str:
        """The path of a file beside it."""
        return f"{self.folder.rstrip('/')}/{name}"


def scan(directory: Path, project: str, progress: Progress = lambda done, total: None, threads: int = 2) -> ScanReport:
    """Take the photos under a directory into a project, which is made if there is none of that name.

    Args:
        directory: Where they are; only read.
        project: Its name.
        progress: Called after each chunk with image files done and in all; may raise to stop.
        threads: That read and decode.

    Raises:
        OSError: The directory cannot be listed.
    """
    report = ScanReport(project, str(directory.resolve()))
    report.images = sum(len(folder.files.of) for folder in walk(directory))
    with session_scope() as session:
        project_id = photos.find_or_add_project(session, project).id
    assert project_id is not None
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(directory, report):
            known = _known(project_id, chunk)
            new = [found for found in chunk if found.path not in known]
            read = dict(zip([found.path for found in new], pool.map(_read, new), strict=True))
            _write(project_id, chunk, known, read, report)
            done += len(chunk)
            progress(done, max(done, report.images))
    report.images = done
    return report


def _chunks(directory: Path, report: ScanReport) -> Iterator[list[_Found]]:
    waiting: list[_Found] = []
    for folder in walk(directory):
        _tell_odd(folder, report)
        waiting += [_Found(folder.path, name, companions) for name, companions in sorted(folder.files.of.items())]
        while len(waiting) >= PHOTOS_AT_ONCE:
            yield waiting[:PHOTOS_AT_ONCE]
            waiting = waiting[PHOTOS_AT_ONCE:]
    if waiting:
        yield waiting


def _tell_odd(folder: Folder, report: ScanReport) -> None:
    report.others += [LeftOut(path, reason) for path, reason in folder.odd.items()]
    for name, images in folder.files.ambiguous.items():
        path = f"{folder.path.rstrip('/')}/{name}"
        report.others.append(LeftOut(path, "may be of several images, and goes with none: " + ", ".join(images)))


def _known(project_id: int, chunk: Sequence[_Found]) -> dict[str, photos.SeenFile]:
    """Path -> what is known of the files that have not changed since they were seen."""
    known: dict[str, photos.SeenFile] = {}
    with session_scope() as session:
        seen = photos.seen_files(session, project_id, [found.path for found in chunk])
    for path, file in seen.items():
        if file_mark(path) == (file.byte_size, file.modified_ns):
            known[path] = file
    return known


def _read(found: _Found) -> PhotoFile | LeftOut:
    try:
        return read_photo(found.path)
    except UnreadablePhoto as error:
        return LeftOut(found.path, str(error))


def _write(
    project_id: int,
    chunk: Sequence[_Found],
    known: dict[str, photos.SeenFile],
    read: dict[str, PhotoFile | LeftOut],
    report: ScanReport,
) -> None:
    """One transaction: photos, the paths where they were seen, companions."""
    taken = {path: file for path, file in read.items() if isinstance(file, PhotoFile)}
    rows: dict[str, dict[str, Any]] = {}
    for found in chunk:
        if found.path in taken:
            rows.setdefault(taken[found.path].info.sha256, _row(found.name, taken[found.path]))
    with session_scope() as session:
        photos.lock_project(session, project_id)  # so that two scans of one project never wait for each other in a ring
        ids, photos_added = photos.add_photos(session, project_id, list(rows.values()))
        paths = []
        for found in chunk:
            if found.path in known:
                facts = known[found.path]
                paths.append(_path(found, facts.photo_id, facts.byte_size, facts.modified_ns))
            elif found.path in taken:
                file = taken[found.path]
                paths.append(_path(found, ids[file.info.sha256], file.info.byte_size, file.modified_ns))
        path_ids, paths_added = photos.add_paths(session, project_id, paths)
        companions = [
            (path_ids[found.path], found.place(name))
            for found in chunk
            if found.path in path_ids
            for name in found.companions
        ]
        companions_added = photos.add_companions(session, project_id, companions)
    report.read += len(taken)
    report.unchanged += len(known)
    report.photos_added += photos_added
    report.paths_added += paths_added
    report.companions_added += companions_added
    report.unreadable += [file for file in read.values() if isinstance(file, LeftOut)]


def _row(name: str, file: PhotoFile) -> dict[str, Any]:
    info = file.info
    return {
        "sha256": info.sha256,
        "media_type": info.media_type,
        "width": info.width,
        "height": info.height,
        "byte_size": info.byte_size,
        "orientation": info.orientation,
        "phash": photos.signed(file.phash),
        "name": name,
        "stage": file.stage,
        "taken_at": file.taken_at,
    }


def _path(found: _Found, photo_id: int, byte_size: int, modified_ns: int) -> dict[str, Any]:
    return {
        "photo_id": photo_id,
        "path": found.path,
        "name": found.name,
        "byte_size": byte_size,
        "modified_ns": modified_ns,
    }


def run(context: JobContext) -> Finish:
    """The job `scan`: parameters `project` and `directory`, which must lie under a declared root."""
    try:
        directory = check_photo_directory(context.params["directory"])
    except ValueError as error:
        raise JobFailed(str(error)) from error
    if not directory.is_dir():
        raise JobFailed(f"{directory} is not a directory on the machine of this worker")

    def progress(done: int, total: int) -> None:
        context.progress(done / total, f"{done} of {total} images")

    report = scan(directory, context.params["project"], progress, worker_settings().scan_threads)
    return Finish(report.summary())
