"""Running command lines in this process, as `afterglow` would."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from worker.cli.main import run
from worker.cli.output import manner


@dataclass(frozen=True)
class Said:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that `--json` put on stderr."""
        return json.loads(self.err)["error"]


Afterglow = Callable[..., Said]


@pytest.fixture
def afterglow(capsys: pytest.CaptureFixture[str]) -> Iterator[Afterglow]:
    """A function that runs a command line: `afterglow("jobs", "--json")`."""

    def run_words(*words: str) -> Said:
        capsys.readouterr()
        code = run(list(words))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield run_words
    manner.set(as_json=False, quiet=False, debug=False)
    logging.disable(logging.NOTSET)
