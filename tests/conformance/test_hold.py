"""A secret that cannot be read on the server: agents that do not know `hold` keep what they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, select, update

from app.models import Secret
from tests.conformance.conftest import YAML
from tests.conformance.go_agent import GoAgent
from tests.conformance.test_agents import Place, agent, place
from tests.conformance.test_materials import NAMING, pem, put
from tests.support.server import Server
from tests.support.until import until

__all__ = ["agent", "place"]


@contextmanager
def unreadable(server: Server, environment_id: str) -> Iterator[None]:
    """The environment's secrets are encrypted with a key that the server does not have, until the end."""
    rows = Secret.__table__
    own = rows.c.environment_id == environment_id
    engine = create_engine(server.settings["SIGNALBOX_DATABASE_URL"])
    try:
        with engine.begin() as connection:
            was = connection.scalars(select(rows.c.key_id).where(own)).one()
            connection.execute(update(rows).where(own).values(key_id="gone"))
        yield
        with engine.begin() as connection:
            connection.execute(update(rows).where(own).values(key_id=was))
    finally:
        engine.dispose()


def test_a_pipeline_on_hold_goes_on_as_it_runs(agent: GoAgent, place: Place, server: Server) -> None:
    """Listed with the YAML and the checksum that they have, so that neither stops nor restarts it.

    Another pipeline's deploy makes the server assemble all of it again, and the agent fetch it; later it is mended.
    """
    put(place, "hunter22", pem("upstream"))
    place.edit(NAMING)
    place.operator.deploy(place.pipeline_id)
    place.wait_running(2)
    before, ran = listed(agent)[place.pipeline_id], agent.pipelines[place.pipeline_id]
    beside = place.operator.create_pipeline(place.environment_id, "beside", YAML)["id"]

    def told(version: int) -> None:
        """Deploy the other one; until the agent runs it, and so has had the answer that lists both."""
        place.operator.deploy(beside)
        until(lambda: beside in agent.pipelines and agent.pipelines[beside].version == version)

    with unreadable(server, place.environment_id):
        told(1)
        held = listed(agent)[place.pipeline_id]
        assert held == {
            key: value for key, value in before.items() if key not in ("secrets", "certFiles")
        } | {"hold": True}
        assert place.operator.call("GET", f"/pipelines/{place.pipeline_id}")["hold"].startswith("The secret")
        assert agent.pipelines[place.pipeline_id] is ran, "neither stopped nor started anew"
        until(
            lambda: [each["status"] for each in place.node["pipelines"]] == ["RUNNING", "RUNNING"],
            what="the heartbeat",
        )
    told(2)
    assert listed(agent)[place.pipeline_id] == before
    assert agent.pipelines[place.pipeline_id] is ran
    assert ran.secrets["VF_SECRET_API_KEY"] == "hunter22"
    # The secret alone: a new certificate beside it would be a second change, fetched by itself or with the first.
    rotated = {"value": "rotated22"}
    place.operator.call("PUT", f"/environments/{place.environment_id}/secrets/api-key", rotated)
    until(lambda: agent.pipelines[place.pipeline_id].secrets["VF_SECRET_API_KEY"] == "rotated22")
    assert agent.pipelines[place.pipeline_id].starts == ran.starts + 1
    assert agent.counts["stopped"] == 0
    assert not agent.problems


def listed(agent: GoAgent) -> dict[str, Any]:
    """What the server wants the agent to run, by pipeline."""
    return {each["pipelineId"]: each for each in agent.call("GET", "config")["pipelines"]}
