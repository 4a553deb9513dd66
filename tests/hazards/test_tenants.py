"""Whatever is deployed, put and moved in whatever order: no answer holds anything of another environment."""

import uuid

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app import accounts
from app.audit import COMMAND_LINE
from tests.app.conftest import Script, enroll, node_id

ENVIRONMENTS, NODES, PIPELINES, SECRETS = 3, 3, 2, ("one", "two")
SWITCH = "VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION"
YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: http, inputs: [made], uri: ENVIRONMENT, key: "SECRET[NAME]"}}
"""

environment = st.integers(0, ENVIRONMENTS - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), environment, st.sampled_from(SECRETS)),
        st.tuples(st.just("deploy"), environment, st.integers(0, PIPELINES - 1), st.sampled_from(SECRETS)),
        st.tuples(st.just("undeploy"), environment, st.integers(0, PIPELINES - 1)),
        st.tuples(st.just("remove"), environment, st.sampled_from(SECRETS)),
        st.tuples(st.just("move"), st.integers(0, NODES - 1), environment),
        st.tuples(st.just("label"), st.integers(0, NODES - 1), st.sampled_from(["a", "b"])),
    ),
    min_size=3,
    max_size=12,
)


class World:
    """Some environments with the same names in them, and nodes that wander between them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.environments = [
            script.post("/environments", {"name": uuid.uuid4().hex})["id"] for _ in range(ENVIRONMENTS)
        ]
        for number in range(ENVIRONMENTS):
            for name in SECRETS:
                self.put(number, name)
        self.pipelines = [
            [
                script.post(
                    "/pipelines", {"environmentId": each, "name": f"p{n}", "configYaml": self.yaml(each, "one"),
                                   "nodeSelector": ("", "zone=a")[n]}
                )["id"]
                for n in range(PIPELINES)
            ]
            for each in self.environments
        ]  # fmt: skip
        self.nodes = [enroll(script, self.environments[0], "node")[0] for _ in range(NODES)]
        self.places = [0] * NODES

    @staticmethod
    def yaml(environment_id: str, name: str) -> str:
        return YAML.replace("ENVIRONMENT", f"http://{environment_id}").replace("NAME", name)

    def put(self, number: int, name: str) -> None:
        each = self.environments[number]
        answer = self.script.call(
            "PUT", f"/environments/{each}/secrets/{name}", {"value": f"{each} {name} {uuid.uuid4().hex}"}
        )
        assert answer.status_code == 200, answer.text

    def deploy(self, number: int, which: int, name: str) -> None:
        body = {"name": f"p{which}", "configYaml": self.yaml(self.environments[number], name)}
        pipeline_id = self.pipelines[number][which]
        self.script.call("PUT", f"/pipelines/{pipeline_id}", body)
        assert self.script.call("POST", f"/pipelines/{pipeline_id}/deploy", {}).status_code in (200, 400)

    def undeploy(self, number: int, which: int) -> None:
        self.script.call("POST", f"/pipelines/{self.pipelines[number][which]}/undeploy", {})

    def remove(self, number: int, name: str) -> None:
        answer = self.script.call("DELETE", f"/environments/{self.environments[number]}/secrets/{name}")
        assert answer.status_code in (204, 404, 409)

    def move(self, node: int, number: int) -> None:
        body = {"environmentId": self.environments[number]}
        self.script.call("PATCH", f"/nodes/{node_id(self.nodes[node])}", body)
        self.places[node] = number

    def label(self, node: int, zone: str) -> None:
        self.script.call("PATCH", f"/nodes/{node_id(self.nodes[node])}", {"labels": {"zone": zone}})

    def check(self) -> None:
        """What each node is told is of its environment, and only what the pipeline names."""
        for agent, place in zip(self.nodes, self.places, strict=True):
            own = self.environments[place]
            for entry in agent.get("/config")["pipelines"]:
                assert entry["pipelineId"] in self.pipelines[place]
                assert f"http://{own}" in entry["configYaml"]
                values = {key: value for key, value in entry["secrets"].items() if key != SWITCH}
                (variable,) = values
                assert variable in entry["configYaml"]
                assert values[variable].startswith(f"{own} {variable.removeprefix('VF_SECRET_').lower()} ")


@pytest.fixture
def script(application: Flask) -> Script:
    return Script(application.test_client(), accounts.create_api_token("tests", COMMAND_LINE).text)


@settings(
    max_examples=12,
    deadline=None,
    # To shrink a failure takes minutes here.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_no_answer_holds_another_environment_s_data(script: Script, steps: list[tuple[object, ...]]) -> None:
    """Hazard 5, through the caches of one process."""
    world = World(script)
    for number in range(ENVIRONMENTS):
        world.deploy(number, 0, "one")
    world.check()
    for name, *arguments in steps:
        getattr(world, str(name))(*arguments)
        world.check()
