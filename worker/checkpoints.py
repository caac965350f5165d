"""The checkpoints of a training run in the store, so that any host can go on where another one was killed.

An attempt copies each checkpoint that its training writes to a place of its own, under a key that is never used again:
`<attempt>/<number>-<fit>.safetensors`, the newest having the highest number. The next attempt, also one of a job that
was tried again, takes the newest of each fit. Without a store that answers, a training goes on all the same.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ml.images.store import FileStore, StoreError
from worker.job_context import JobContext
from worker.places import checkpoint_key, checkpoints_prefix

_FILE = re.compile(r"[a-z0-9-]+\.safetensors")
_KEY = re.compile(r"job-(?P<job>\d+)/attempt-(?P<attempt>\d+)/(?P<number>\d+)-(?P<file>[a-z0-9-]+\.safetensors)")


def attempt_name(context: JobContext) -> str:
    """`<job>.<attempt>`, e.g. `12.2`: names one attempt among all of a run, also those of jobs tried again."""
    return f"{context.claim.job_id}.{context.claim.attempt}"


class StoredCheckpoints:
    """The checkpoints of one run, as one attempt reads and writes them.

    Args:
        context: of the attempt.
        store: of the files.
        run_id: whose checkpoints.
        directory: where the training of this attempt reads and writes them.
    """

    def __init__(self, context: JobContext, store: FileStore, run_id: int, directory: Path) -> None:
        self.directory = directory
        self._context, self._store = context, store
        self._prefix = checkpoints_prefix(run_id)
        self._own = checkpoint_key(run_id, context.claim.job_id, context.claim.attempt)
        self._keys: dict[str, list[str]] = {}
        self._uploaded: dict[str, tuple[int, int]] = {}
        self._number = 0

    def fetch(self) -> None:
        """Put the newest checkpoint of each fit into the directory; safe to repeat. What cannot be had is logged."""
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            keys = self._store.list_files(self._prefix)
        except StoreError as error:
            self._context.log(f"no checkpoints could be looked for, so the training starts anew: {error}")
            return
        found = [(match, key) for key in keys if (match := _KEY.fullmatch(key.removeprefix(f"{self._prefix}/")))]
        for match, key in sorted(found, key=lambda each: tuple(int(each[0][part]) for part in range(1, 4))):
            self._keys.setdefault(match["file"], []).append(key)
        for file, known in self._keys.items():
            try:
                (self.directory / file).write_bytes(self._store.read_file(known[-1]))
            except (StoreError, OSError) as error:
                self._context.log(f"the checkpoint {file} could not be fetched, so its training starts anew: {error}")

    def on_event(self, event: dict[str, Any]) -> None:
        """Follow what the training says: store a checkpoint, or log from where it goes on."""
        if event.get("event") == "checkpoint" and _FILE.fullmatch(str(event.get("file"))):
            self._upload(str(event["file"]))
        elif event.get("event") == "resumed":
            self._context.log(_resumed(event))

    def _upload(self, file: str) -> None:
        source = self.directory / file
        try:
            found = source.stat()
            state = (found.st_ino, found.st_mtime_ns)
            if self._uploaded.get(file) == state:
                return  # this event came while the file was being stored that the one before it had announced
            self._number += 1
            key = f"{self._own}/{self._number:06d}-{file}"
            self._store.put_file(source, key)
            self._uploaded[file] = state
            for old in self._keys.get(file, []):
                self._store.delete_file(old)
            self._keys[file] = [key]
        except (StoreError, OSError) as error:
            self._context.log(f"the checkpoint {file} could not be stored; the training goes on: {error}")


def _resumed(event: dict[str, Any]) -> str:
    if "reason" in event:
        return str(event["reason"])
    job, _, attempt = str(event.get("attempt")).partition(".")
    fit, whose = event.get("fit"), f"attempt {attempt} of job {job}" if attempt else f"attempt {job}"
    if event.get("finished"):
        return f"{fit} is not trained again: {whose} finished it after epoch {event.get('epoch')}"
    return f"{fit} goes on from epoch {event.get('epoch')} of {whose}"
