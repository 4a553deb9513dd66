"""Two clients of the wire contract: an operator's script, and an agent played by hand."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.support.websocket_client import WebSocketClient

TIMEOUT_SECONDS = 30.0


class ApiError(Exception):
    """The server did not answer with success; `status` and `body` say what it answered."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.body = response.text
        request = response.request
        super().__init__(
            f"{request.method} {urlsplit(request.url or '').path} answered {self.status}: {self.body}"
        )


class Operator:
    """The operator API, `/api/v1`, with an API token. A call returns the answer's JSON or raises ApiError."""

    def __init__(self, url: str, token: str) -> None:
        """`url` is the server's, without a slash at the end."""
        self.url = url
        self.session = _session(token)

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """`path` begins after `/api/v1`. None where the answer has no body (204)."""
        response = self.request(method, path, body, **query)
        if not response.ok:
            raise ApiError(response)
        return response.json() if response.content else None

    def request(self, method: str, path: str, body: object = None, **query: str) -> requests.Response:
        """As `call`, for whoever wants the answer itself, whatever its status."""
        return self.session.request(
            method, f"{self.url}/api/v1{path}", json=body, params=query, timeout=TIMEOUT_SECONDS
        )

    def create_environment(self, name: str) -> Any:
        return self.call("POST", "/environments", {"name": name})

    def enrollment_token(self, environment_id: str) -> str:
        """A new enrollment token; the one before is dead."""
        token: str = self.call("POST", f"/environments/{environment_id}/enrollment-token")["token"]
        return token

    def create_pipeline(self, environment_id: str, name: str, config_yaml: str, **more: object) -> Any:
        """`more` may have `nodeSelector` and `logLevel`."""
        body = {"environmentId": environment_id, "name": name, "configYaml": config_yaml, **more}
        return self.call("POST", "/pipelines", body)

    def deploy(self, pipeline_id: str, changelog: str | None = None) -> Any:
        """`{deploymentId, version, targets, pushed}`."""
        return self.call(
            "POST", f"/pipelines/{pipeline_id}/deploy", {"changelog": changelog} if changelog else {}
        )

    def undeploy(self, pipeline_id: str) -> Any:
        return self.call("POST", f"/pipelines/{pipeline_id}/undeploy")

    def roll_back(self, pipeline_id: str, version: int) -> Any:
        return self.call("POST", f"/pipelines/{pipeline_id}/rollback", {"version": version})

    def node(self, node_id: str) -> Any:
        return self.call("GET", f"/nodes/{node_id}")

    def nodes(self, **query: str) -> Any:
        """The first page of nodes; `query` as in the contract (`environmentId`, `label`, `limit`, …)."""
        return self.call("GET", "/nodes", **query)["items"]


class AgentByHand:
    """The agent API, call by call, as the test wants it."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """`token` is a node token; without one, `enroll` gets it."""
        self.url = url
        self.node_id = ""
        self.token = token
        self.session = _session(token)

    def enroll(self, enrollment_token: str, hostname: str = "by-hand", **more: object) -> Any:
        """Enroll and go on with the node token that comes back; ApiError when refused."""
        body = {"token": enrollment_token, "hostname": hostname, **more}
        response = requests.post(f"{self.url}/api/agent/enroll", json=body, timeout=TIMEOUT_SECONDS)
        if response.status_code != 200:
            raise ApiError(response)
        answer = response.json()
        self.node_id, self.token = answer["nodeId"], answer["nodeToken"]
        self.session = _session(self.token)
        return answer

    def config(self, etag: str | None = None) -> requests.Response:
        """`GET /api/agent/config`, the answer as it came."""
        headers = {"If-None-Match": etag} if etag else {}
        return self.session.get(f"{self.url}/api/agent/config", headers=headers, timeout=TIMEOUT_SECONDS)

    def heartbeat(self, pipelines: list[dict[str, Any]] | None = None, **more: object) -> requests.Response:
        """`POST /api/agent/heartbeat`, the answer as it came."""
        return self.post("heartbeat", {"pipelines": pipelines or [], **more})

    def follow(self) -> str:
        """Fetch what it must run and report that it does, so that no sweep has a reason to nudge; the revision."""
        revision: str = self.config().json()["configRevision"]
        response = self.heartbeat(configRevision=revision)
        if response.status_code != 200:
            raise ApiError(response)
        return revision

    def post(self, path: str, body: object) -> requests.Response:
        """Any other POST of the agent API; `path` begins after `/api/agent/`."""
        return self.session.post(f"{self.url}/api/agent/{path}", json=body, timeout=TIMEOUT_SECONDS)

    def connect(self, headers: Mapping[str, str] | None = None) -> WebSocketClient:
        """The push channel, opened and accepted; the caller closes it."""
        return WebSocketClient.connect(f"{self.url}/api/agent/ws", self.token, headers=headers)


def _session(token: str | None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy and no .netrc of the machine's
    # The server ends an idle connection after five seconds; who sends at that very moment hears a reset.
    session.headers["Connection"] = "close"
    if token is not None:
        session.headers["Authorization"] = f"Bearer {token}"
    return session
