"""Checkpoints: what a killed training goes on from. One safetensors file for each fit of a run, nothing pickled.

A fit is one training of one model: the final one (`final.safetensors`), one of a fold, one for a calibration. Its file
holds the state after its last saved epoch and appears whole or not at all. It names the run it belongs to and a sha256
over all it holds: what is truncated, changed or of another run is refused, and that fit starts anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ml.events import Progress, emit
from ml.features.backbones import tensors_sha256
from ml.images.atomic import TEMPORARY, flush_directory

SECONDS_BETWEEN_CHECKPOINTS = 10.0
FIRST_ATTEMPT = "1"
_FACTS, _DIGEST = "facts", "sha256"
# What reading a damaged file, or one of another version of torch, can raise.
UNUSABLE = (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError, RuntimeError)


@dataclass
class Saved:
    """A checkpoint that was read and is intact."""

    epoch: int
    """Epochs of the fit that are done."""
    finished: bool
    """Whether the fit is over; then the tensors are only those of its best epoch."""
    attempt: str
    """Which attempt wrote it."""
    facts: dict[str, Any]
    """The part of the state that is no tensor."""
    tensors: dict[str, torch.Tensor]


class Checkpoints:
    """The fits of one run so far. Without a directory nothing is read and nothing is written.

    Args:
        directory: of the files, for this process alone; created when it is missing.
        identity: what makes the run this run: a hash over its recipe, its manifest and the weights it starts from.
        attempt: which attempt at the run this is, put into the log of epochs.
        every_s: seconds between two checkpoints at least; 0 for one after every epoch. The end of a fit is always kept.
        libraries: versions that decide the last digits of the weights.
    """

    def __init__(
        self,
        directory: Path | None = None,
        identity: str = "",
        attempt: str = FIRST_ATTEMPT,
        every_s: float = SECONDS_BETWEEN_CHECKPOINTS,
        libraries: Mapping[str, str] | None = None,
    ) -> None:
        self.directory, self.identity, self.attempt, self.every_s = directory, identity, attempt, every_s
        self.libraries = dict(libraries or {})
        self._notes: list[str] = []
        self.resumed_from: list[dict[str, Any]] = []
        """Each time that a fit of this run went on: `fit`, `epoch`, and the `attempt` that had come so far."""
        self._resumed: dict[str, list[dict[str, Any]]] = {}
        self._last_write = -math.inf
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.glob(f"{TEMPORARY}*"):
                left.unlink(missing_ok=True)

    @property
    def notes(self) -> list[str]:
        """What people should know of the resume, for the run's facts."""
        changed = [
            f"{each['fit']} went on after epoch {each['epoch']} with other libraries ({each['other_libraries']}), so "
            "the last digits may differ from those of a training that was never stopped"
            for each in self.resumed_from
            if "other_libraries" in each
        ]
        return [*self._notes, *changed]

    def read(self, name: str, progress: Progress) -> Saved | None:
        """The checkpoint of a fit; None where there is none, or none that can be used, which is said."""
        if self.directory is None:
            return None
        path = self.directory / file_name(name)
        if not path.is_file():
            return None
        try:
            facts, tensors = _read(path)
            if facts["identity"] != self.identity or facts["fit"] != name:
                raise ValueError("it is of another run: another recipe, manifest or weights to start from")
            saved = Saved(int(facts["epoch"]), bool(facts["finished"]), str(facts["attempt"]), facts["state"], tensors)
            libraries, resumed = dict(facts["libraries"]), list(facts["resumed"])
        except UNUSABLE as error:
            self.refuse(name, error, progress)
            return None
        if not saved.finished:
            since = {"fit": fit_title(name), "attempt": saved.attempt, "epoch": saved.epoch}
            names = sorted({*libraries, *self.libraries})
            changed = [each for each in names if libraries.get(each) != self.libraries.get(each)]
            told = ", ".join(f"{each} {libraries.get(each)} -> {self.libraries.get(each)}" for each in changed)
            resumed.append({**since, "other_libraries": told} if told else since)
        self._resumed[name] = resumed
        self.resumed_from += resumed
        return saved

    def accept(self, name: str, saved: Saved) -> None:
        """Tell the supervisor that a fit goes on from a checkpoint."""
        emit({"event": "resumed", "fit": fit_title(name), "epoch": saved.epoch, "attempt": saved.attempt,
              "finished": saved.finished})  # fmt: skip

    def refuse(self, name: str, error: Exception, progress: Progress) -> None:
        """Say that a checkpoint cannot be used and its fit starts anew."""
        for each in self._resumed.pop(name, []):
            self.resumed_from.remove(each)
        reason = str(error) if isinstance(error, (ValueError, SafetensorError)) else f"{type(error).__name__}: {error}"
        message = f"the checkpoint of {fit_title(name)} cannot be used ({reason[:300]}); it is trained from the start"
        self._notes.append(message)
        emit({"event": "progress", "fraction": round(progress.low, 4), "message": message})
        emit({"event": "resumed", "fit": fit_title(name), "epoch": 0, "reason": message})

    def is_due(self) -> bool:
        """Whether it is time to write again; never without a directory."""
        return self.directory is not None and time.monotonic() - self._last_write >= self.every_s

    def write(
        self, name: str, epoch: int, finished: bool, state: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> None:
        """Replace the checkpoint of a fit and say so; where it cannot be written the training goes on without."""
        if self.directory is None:
            return
        facts = {
            "identity": self.identity, "fit": name, "attempt": self.attempt, "epoch": epoch, "finished": finished,
            "libraries": self.libraries, "resumed": self._resumed.get(name, []), "state": state,
        }  # fmt: skip
        path = self.directory / file_name(name)
        try:
            _write(path, facts, tensors)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"checkpoints could not be written ({reason}); a resume has to start from earlier ones"
            if message not in self._notes:
                self._notes.append(message)
            return
        self._last_write = time.monotonic()
        emit({"event": "checkpoint", "file": path.name, "epoch": epoch, "fit": fit_title(name), "finished": finished})


def fit_title(name: str) -> str:
    """How people are told of a fit; the final one has no name."""
    return name.strip(" ,") or "the final training"


def file_name(name: str) -> str:
    """The file of a fit: its name in small letters, digits and hyphens."""
    return (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "final") + ".safetensors"


def _digest(facts: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return hashlib.sha256(f"{tensors_sha256(tensors)}|{facts}".encode()).hexdigest()


def _write(path: Path, facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    text = json.dumps(facts)  # floats are written so that they come back the same to the last bit
    part = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        save_file(tensors, part, {_FACTS: text, _DIGEST: _digest(text, tensors)})
        with part.open("rb") as opened:
            os.fsync(opened.fileno())
        os.replace(part, path)
        flush_directory(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
        # Copies: the file is mapped, and what is trained on must not lie in it.
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    text = metadata[_FACTS]
    if metadata[_DIGEST] != _digest(text, tensors):
        raise ValueError("its content is not what was written")
    facts: dict[str, Any] = json.loads(text)
    return facts, tensors
