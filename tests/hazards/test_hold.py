"""Hazards 3, 4 and 5: secrets that cannot be read stop nothing, restart nothing, and are nobody else's."""

import base64
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app import accounts, assembly, create_app
from app.assembly import EnvironmentPlan
from app.audit import COMMAND_LINE
from app.config import Settings
from app.database import db, transaction
from app.models import PipelineVersion, Secret
from tests.app.conftest import Script, enroll, refused
from tests.hazards.conftest import forget_plans
from tools.redis_server import RedisServer

YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: http, inputs: [made], key: "SECRET[api-key]"}}
"""
PLAIN = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""
OLD, NEW = (base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(2))


class House:
    """An installation that is started again and again on one database, with other keys."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.token = ""
        self.path = ""
        """Of the environment."""
        self.agent_token = ""

    @contextmanager
    def open(self, encryption_key: str = OLD, secret_key: str = "s" * 32) -> Iterator[Flask]:
        keys = {"SIGNALBOX_ENCRYPTION_KEY": encryption_key, "SIGNALBOX_SECRET_KEY": secret_key}
        app = create_app(Settings.from_environ({**self.settings, **keys}))
        # As a worker that has just started: it has never assembled anything.
        assembly._plans.clear()
        yield app
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
            app.extensions["switchboard"].gate.client.close()

    def script(self, app: Flask) -> Script:
        return Script(app.test_client(), self.token)

    def answer(self, app: Flask) -> dict[str, Any]:
        """What the node must run, by the pipeline's name."""
        answer = Script(app.test_client(), self.agent_token, "/api/agent").get("/config")
        return {
            "revision": answer["configRevision"],
            **{each["pipelineName"]: each for each in answer["pipelines"]},
        }


@pytest.fixture
def house(database_url: str, redis_server: RedisServer, unique_prefix: str) -> House:
    """One node that runs two pipelines, one of which names a secret."""
    house = House(
        {
            "SIGNALBOX_DATABASE_URL": database_url,
            "SIGNALBOX_REDIS_URL": redis_server.url,
            "SIGNALBOX_REDIS_PREFIX": unique_prefix,
        }
    )
    with house.open() as app:
        with app.app_context():
            house.token = accounts.create_api_token("tests", COMMAND_LINE).text
        script = house.script(app)
        environment_id = script.post("/environments", {"name": "production"})["id"]
        house.path = f"/environments/{environment_id}"
        assert script.call("PUT", f"{house.path}/secrets/api-key", {"value": "hunter2"}).status_code == 200
        (agent,) = enroll(script, environment_id, "node")
        house.agent_token = str(agent.token)
        for name, yaml in {"naming": YAML, "plain": PLAIN}.items():
            body = {"environmentId": environment_id, "name": name, "configYaml": yaml}
            pipeline_id = script.post("/pipelines", body)["id"]
            script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
    return house


def test_a_worker_without_the_key_holds_what_it_cannot_assemble(house: House) -> None:
    """Hazard 4: it has just started and remembers nothing itself; YAML and checksum are those that nodes run."""
    with house.open() as app:
        before = house.answer(app)
    with house.open(NEW) as app:
        held = house.answer(app)
        assert held["naming"] == {
            **{key: value for key, value in before["naming"].items() if key != "secrets"},
            "hold": True,
        }
        assert held["plain"] == before["plain"]
        assert held["revision"] != before["revision"]
        # The reason is told where people look, in words that hold no value.
        script = house.script(app)
        row = script.get(f"/pipelines/{before['naming']['pipelineId']}")
        (node,) = script.get("/nodes")["items"]
        assert row["hold"] == {each["name"]: each.get("hold") for each in node["pipelines"]}["naming"]
        assert row["hold"].startswith('The secret "api-key" was encrypted with a key')
        assert [each["readable"] for each in script.get(f"{house.path}/secrets")["items"]] == [False]
        # Nothing of it can be deployed now, neither is anything lost by trying.
        deploy = script.call("POST", f"/pipelines/{before['naming']['pipelineId']}/deploy", {})
        assert "Put it again." in refused(deploy, 409)
        assert house.answer(app) == held
    with house.open(f"{NEW},{OLD}") as app:
        assert house.answer(app) == before


def test_a_value_put_again_ends_the_hold(house: House) -> None:
    """Also where the old value can never be read again."""
    with house.open(NEW) as app:
        assert "hold" in house.answer(app)["naming"]
        script = house.script(app)
        assert script.call("PUT", f"{house.path}/secrets/api-key", {"value": "new"}).status_code == 200
        after = house.answer(app)["naming"]
        assert after["secrets"]["VF_SECRET_API_KEY"] == "new"
        assert "hold" not in after


def test_a_failed_assembly_is_tried_again_at_the_next_request(house: House) -> None:
    """Hazard 4: what mends it (a row from a backup) changes no nonce, so a cache would serve the hold for ever."""
    with house.open() as app:
        before = house.answer(app)

        def swap(data: bytes) -> bytes:
            def work(session: Any) -> bytes:
                row = session.query(Secret).one()
                was: bytes = row.data
                session.execute(update(Secret).values(data=data))
                return was

            with app.app_context():
                forget_plans(app)
                return transaction(work)

        good = swap(b"\0" * 40)
        held = house.answer(app)
        assert held["naming"]["hold"]
        assert held["naming"]["checksum"] == before["naming"]["checksum"]
        with app.app_context():
            transaction(lambda session: session.execute(update(Secret).values(data=good)) and None)
        assert house.answer(app) == before


def test_a_herd_shares_an_assembly_that_failed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked before it began may have it; else each request of a fleet on hold would decrypt for itself."""
    assemble, assembled = assembly._assemble, list[str]()

    def slowly(session: Any, environment_id: str) -> EnvironmentPlan:
        assembled.append(environment_id)
        time.sleep(0.3)
        return assemble(session, environment_id)

    with house.open(NEW) as app:
        environment_id = house.path.rpartition("/")[2]
        held: list[int] = []

        def ask() -> None:
            with app.app_context():
                held.append(len(assembly.wanted_for(environment_id).held))

        monkeypatch.setattr(assembly, "_assemble", slowly)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert held == [1] * 8
    assert len(assembled) <= 3


def test_a_row_that_was_copied_elsewhere_cannot_be_read_there(house: House) -> None:
    """Who can write to the database cannot have another environment's secret sent to a node of theirs."""
    with house.open() as app:
        script = house.script(app)
        other = script.post("/environments", {"name": "other"})["id"]
        script.call("PUT", f"/environments/{other}/secrets/api-key", {"value": "theirs"})
        script.call("PUT", f"{house.path}/secrets/twin", {"value": "other name"})

        def copy(session: Any) -> None:
            stolen = session.query(Secret).filter_by(environment_id=other).one()
            mine = (
                session.query(Secret).filter(Secret.environment_id != other, Secret.name == "api-key").one()
            )
            mine.sealed = stolen.sealed

        with app.app_context():
            transaction(copy)
            forget_plans(app)
        assert house.answer(app)["naming"]["hold"]

        def rename(session: Any) -> None:
            rows = session.query(Secret).filter(Secret.environment_id != other)
            rows.filter_by(name="api-key").one().sealed = rows.filter_by(name="twin").one().sealed

        with app.app_context():
            transaction(rename)
        assert house.answer(app)["naming"]["hold"]


def test_a_hold_without_memory_still_lists_the_pipeline(house: House) -> None:
    """Both keys lost at once: the worst that there is, and still nothing stops for being absent."""
    with house.open(NEW, "t" * 32) as app:
        held = house.answer(app)
    assert held["naming"]["hold"]
    assert held["naming"]["configYaml"]


def test_reencrypting_lets_the_old_key_go(house: House) -> None:
    """In three steps, none of which changes what nodes get; a run without a key says what it could not read."""
    with house.open() as app:
        before = house.answer(app)
    with house.open(NEW) as app:
        lost = app.test_cli_runner().invoke(args=["secrets", "reencrypt"])
        assert lost.exit_code == 1
        assert '"api-key"' in lost.output
        assert "cannot be decrypted: 1" in lost.output
    with house.open(f"{NEW},{OLD}", "t" * 32) as app:
        first = app.test_cli_runner().invoke(args=["secrets", "reencrypt"])
        assert (first.exit_code, first.stdout.split(";")[0]) == (0, "Encrypted anew: 1"), first.output
        assert "1 of 1" in first.output
        again = app.test_cli_runner().invoke(args=["secrets", "reencrypt"])
        assert again.stdout.startswith("Encrypted anew: 0; had the first key already: 1;")
        assert "hunter2" not in first.output + again.output + lost.output
        assert house.answer(app) == before
    with house.open(NEW, "t" * 32) as app:
        assert house.answer(app) == before
    with house.open(OLD, "t" * 32) as app:
        # The new secret key's memory is there too.
        assert house.answer(app)["naming"]["checksum"] == before["naming"]["checksum"]


def test_a_version_with_references_is_never_rendered_again(house: House) -> None:
    """Hazard 3: what an older release has put in place of a reference is served as it is, under its checksum."""
    with house.open() as app:
        pipeline_id = house.answer(app)["naming"]["pipelineId"]

        def as_an_older_release(session: Any) -> None:
            session.execute(
                update(PipelineVersion)
                .where(PipelineVersion.pipeline_id == pipeline_id)
                .values(rendered_yaml="# rendered long ago\n")
            )

        with app.app_context():
            transaction(as_an_older_release)
            forget_plans(app)
        before = house.answer(app)["naming"]
        house.script(app).post(f"/pipelines/{pipeline_id}/rollback", {"version": 1}, 200)
        after = house.answer(app)["naming"]
    assert before["configYaml"] == after["configYaml"] == "# rendered long ago\n"
    assert before["checksum"] == after["checksum"]
    assert after["version"] == 2
