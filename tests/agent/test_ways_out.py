"""Real agents behind a proxy and a private certificate authority: requests and push channel go the same way."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.agent.test_doctor import run_doctor
from tests.conftest import StartAgent
from tests.hazards.conftest import YAML
from tests.support.agent_process import AgentProcess
from tests.support.api import Operator
from tests.support.forward_proxy import ForwardProxy
from tests.support.server import Server
from tests.support.tls_server import TlsServer, self_signed
from tests.support.until import until

NAME = "signalbox.test"
"""A name that only the proxies here can resolve: whoever reaches it has gone through one."""
USER, PASSWORD = "edge-user", "hunter%402"

StartProxy = Callable[..., ForwardProxy]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the server, and its own authority."""
    return self_signed(tmp_path_factory.mktemp("authority"), NAME)


@pytest.fixture(scope="module")
def tls_server(
    server: Server, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsServer]:
    """The session's installation, spoken to over TLS."""
    tls = TlsServer(tmp_path_factory.mktemp("tls-server"), server.settings, certificate)
    try:
        tls.start()
        yield tls
    finally:
        tls.close()


@pytest.fixture
def start_proxy() -> Iterator[StartProxy]:
    with ExitStack() as running:

        def start(*arguments: object, **options: object) -> ForwardProxy:
            proxy = ForwardProxy(*arguments, **options)  # type: ignore[arg-type]
            running.callback(proxy.close)
            return proxy

        yield start


@pytest.fixture
def environment_id(operator: Operator, request: pytest.FixtureRequest) -> str:
    """With one deployed pipeline."""
    environment: str = operator.create_environment(request.node.name[:60])["id"]
    pipeline = operator.create_pipeline(environment, "made", YAML)
    operator.deploy(pipeline["id"])
    return environment


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def until_pushed_to(operator: Operator, agent: AgentProcess, transport: str) -> None:
    """Connected by push in that form, with its pipeline running."""

    def is_so() -> bool:
        node = operator.node(agent.node_id)
        push = (node["push"]["connected"], node["push"]["transport"])
        return push == (True, transport) and [row["status"] for row in node["pipelines"]] == ["RUNNING"]

    until(is_so, seconds=40, what=f"a node that runs and is pushed to by {transport}")


def test_requests_and_websocket_go_through_the_proxy(
    operator: Operator,
    environment_id: str,
    tls_server: TlsServer,
    certificate: Path,
    start_proxy: StartProxy,
    start_agent: StartAgent,
) -> None:
    """By CONNECT, with user and password, which show up nowhere else; TLS is checked against SIGNALBOX_CA_FILE."""
    port = port_of(tls_server.url)
    proxy = start_proxy({NAME: port}, credentials=f"{USER}:hunter@2")
    agent = start_agent(
        f"https://{NAME}:{port}",
        operator.enrollment_token(environment_id),
        {
            "HTTPS_PROXY": proxy.url_with(f"{USER}:{PASSWORD}"),
            "SIGNALBOX_CA_FILE": str(certificate),
            "SIGNALBOX_LOG_LEVEL": "debug",
        },
    )

    until_pushed_to(operator, agent, "ws")

    assert set(proxy.seen) == {f"CONNECT {NAME}:{port}"}
    assert not proxy.refused
    log = agent.log.read_text()
    assert f"proxy=http://***@127.0.0.1:{proxy.port}" in log
    assert "hunter" not in log
    assert USER not in log
    # A pipeline's author can read the environment of its Vector.
    (child,) = psutil.Process(agent.process.pid).children()
    assert child.environ()["HTTPS_PROXY"] == proxy.url
    report = run_doctor(agent.settings)
    assert report.code == 0, report.said
    assert f"SIGNALBOX_CA_FILE, {certificate}" in report.texts["tls"]
    for about in ("server", "websocket", "event stream"):
        assert f"through the proxy http://***@127.0.0.1:{proxy.port}" in report.texts[about]
    assert "hunter" not in report.said
    # All that was open went through it: without it the channel is gone.
    proxy.close()
    until(lambda: "link state=closed" in agent.log.read_text(), what="the end of the push channel")


def test_requests_and_event_stream_go_through_a_proxy_that_tunnels_only_tls(
    operator: Operator,
    environment_id: str,
    server: Server,
    start_proxy: StartProxy,
    start_agent: StartAgent,
) -> None:
    """CONNECT is for port 443 alone there, as in many places: a plain WebSocket is refused, the stream passes."""
    port = port_of(server.url)
    proxy = start_proxy({NAME: port}, credentials="u:p", connect_ports=[443])
    agent = start_agent(
        f"http://{NAME}:{port}",
        operator.enrollment_token(environment_id),
        {"http_proxy": proxy.url_with("u:p")},
        module="tests.agent.hasty_agent",
    )

    until_pushed_to(operator, agent, "sse")

    assert f"GET {NAME}:{port}/api/agent/push" in proxy.seen
    assert f"GET {NAME}:{port}/api/agent/config" in proxy.seen
    assert set(proxy.refused) == {f"CONNECT {NAME}:{port}"}


def test_no_proxy_is_for_requests_and_push_channel_alike(
    operator: Operator,
    environment_id: str,
    tls_server: TlsServer,
    certificate: Path,
    start_proxy: StartProxy,
    start_agent: StartAgent,
) -> None:
    """The proxy hears nothing of what NO_PROXY names."""
    proxy = start_proxy()
    agent = start_agent(
        tls_server.url,
        operator.enrollment_token(environment_id),
        {"ALL_PROXY": proxy.url, "NO_PROXY": "other.test, localhost", "SSL_CERT_FILE": str(certificate)},
    )

    until_pushed_to(operator, agent, "ws")

    assert proxy.seen == proxy.refused == []


@pytest.mark.parametrize("part", ["password", "authority"])
def test_what_is_wrong_on_the_way_is_said(
    operator: Operator,
    environment_id: str,
    tls_server: TlsServer,
    certificate: Path,
    start_proxy: StartProxy,
    start_agent: StartAgent,
    tmp_path: Path,
    part: str,
) -> None:
    """In one line without a password; a certificate that is not trusted is not a reason to go on."""
    proxy = start_proxy(credentials="u:hunter2")
    password = "hunter3" if part == "password" else "hunter2"
    authority = self_signed(tmp_path) if part == "authority" else certificate
    agent = start_agent(
        tls_server.url,
        operator.enrollment_token(environment_id),
        {"HTTPS_PROXY": proxy.url_with(f"u:{password}"), "SIGNALBOX_CA_FILE": str(authority)},
    )

    until(lambda: "cannot enroll" in agent.log.read_text(), what="the reason")

    log = agent.log.read_text()
    assert ("407 Proxy Authentication Required" if part == "password" else "SIGNALBOX_CA_FILE") in log
    assert "hunter" not in log
    assert agent.node_token is None
