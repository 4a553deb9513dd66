"""The image: what the Dockerfile builds delivers pushes in production mode."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import PROJECT
from tests.support.api import AgentByHand, Operator
from tests.support.clone import copy_files, files_of_a_clone
from tests.support.image import Stage, build, read_context
from tests.support.leaks import MARK
from tests.support.server import clean_environment, fresh_secrets
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient
from tools.child_process import ChildProcess
from tools.redis_server import RedisServer
from tools.reserved_port import ReservedPort

pytestmark = pytest.mark.timeout(600)

PIPELINE = """
sources: {made: {type: demo_logs, format: json}}
sinks: {nowhere: {type: blackhole, inputs: [made]}}
"""
MOST_NODES = 40


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Every instruction carried out, with packages installed into an environment of the image's own.

    Not compiled: that takes longer than all the rest, and changes nothing of what is tested.
    """
    monkeypatch.setenv("PIP_NO_COMPILE", "1")
    names = read_context(PROJECT, files_of_a_clone())
    context = copy_files(names, tmp_path / "context")
    return build(PROJECT / "Dockerfile", context, tmp_path / "image")


@pytest.fixture
def settings(redis_server: RedisServer, unique_prefix: str) -> Iterator[dict[str, str]]:
    """What `docker run` is given: the required secrets, a Redis, two workers, and an address of this test's own."""
    port = ReservedPort()
    yield {
        **fresh_secrets(),
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": unique_prefix,
        "SIGNALBOX_BIND": f"{port.host}:{port.port}",
        "WEB_CONCURRENCY": "2",
        MARK: clean_environment().get(MARK, ""),
    }
    port.release()


@pytest.mark.long
def test_a_push_reaches_sockets_in_every_worker_of_the_image(
    image: Stage, settings: dict[str, str], tmp_path: Path
) -> None:
    """Whichever worker takes the deploy, each socket hears it, those in the other worker too.

    The server needs nothing from where it was built, and writes nothing but its data, so it need not be root.
    """
    assert image.user.split(":")[0] not in ("root", "0")
    assert image.environment["SIGNALBOX_BIND"] == "0.0.0.0:8000"
    assert image.command == ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    before = files_of(image)
    image.run(["flask", "--app", "wsgi", "db", "upgrade"], settings)
    token = image.run(["flask", "--app", "wsgi", "api-token", "create", "tests"], settings).strip()
    url = f"http://{settings['SIGNALBOX_BIND']}"
    program = Path(image.environment["PATH"].split(":")[0]) / image.command[0]
    server = ChildProcess(
        [program, *image.command[1:]],
        log=tmp_path / "server.log",
        env={**image.environment, **settings},
        cwd=image.folder,
    )
    try:
        operator = Operator(url, token)
        until(
            lambda: server.is_running and operator.session.get(f"{url}/readyz", timeout=5).ok,
            seconds=30,
            what=f"the server in the image (see {server.log})",
            tolerate=(OSError,),
        )
        image.run(image.healthcheck, settings)

        environment = operator.create_environment("image")
        enrollment_token = operator.enrollment_token(environment["id"])
        pipeline = operator.create_pipeline(environment["id"], "nothing", PIPELINE)
        with ExitStack() as open_sockets:
            sockets = sockets_in_two_workers(operator, url, enrollment_token, open_sockets)
            answer = operator.deploy(pipeline["id"])
            assert (answer["targets"], answer["pushed"]) == (len(sockets), len(sockets))
            for socket in sockets:
                message = socket.read_message()
                assert (message["type"], message["reason"]) == ("config_changed", "deploy")
        operator.session.close()
    finally:
        server.stop()
    assert {
        name for name in files_of(image) - before if not name.startswith("srv/signalbox/instance/")
    } == set()


def sockets_in_two_workers(
    operator: Operator, url: str, enrollment_token: str, open_sockets: ExitStack
) -> list[WebSocketClient]:
    """As many connected nodes as it takes for both workers to hold one; their first nudges are read."""
    sockets: list[WebSocketClient] = []
    workers: set[str] = set()
    while len(workers) < 2:
        assert len(sockets) < MOST_NODES, f"{MOST_NODES} sockets are all in one worker, {workers}"
        agent = AgentByHand(url)
        agent.enroll(enrollment_token, f"node-{len(sockets)}")
        sockets.append(open_sockets.enter_context(agent.connect()))
        first = sockets[-1].read_message()
        assert (first["type"], first["reason"]) == ("config_changed", "connected")
        push = until(lambda agent=agent: connected(operator, agent.node_id), what="the node's presence")
        workers.add(push["worker"])
    return sockets


def connected(operator: Operator, node_id: str) -> dict[str, str] | None:
    push: dict[str, str] = operator.node(node_id)["push"]
    return push if push["connected"] else None


def files_of(image: Stage) -> set[str]:
    return {str(path.relative_to(image.root)) for path in image.root.rglob("*") if path.is_file()}
