"""The operator API, as far as the demo uses it."""

from typing import Any

import requests

_TIMEOUT_SECONDS = 30.0


class OperatorError(Exception):
    """The server refused, or did not answer."""


class Operator:
    """A script that operates the fleet with an API token."""

    def __init__(self, url: str, token: str) -> None:
        """`url` is the server's, without a slash at its end."""
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between us and this machine
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON; `path` begins after `/api/v1`. Raises OperatorError with the server's sentence."""
        try:
            response = self._session.request(
                method, f"{self._url}{path}", json=body, timeout=_TIMEOUT_SECONDS
            )
            answer = response.json()
        except requests.RequestException as error:
            raise OperatorError(f"{method} {path} failed: {error}") from error
        if not response.ok:
            raise OperatorError(
                f"{method} {path} was answered with {response.status_code}: {answer['error']}"
            )
        return answer

    def close(self) -> None:
        """Give the connection up: an idle one holds the server's end up for five seconds."""
        self._session.close()

    def nodes(self) -> list[dict[str, Any]]:
        """The first 500 nodes, by name."""
        items: list[dict[str, Any]] = self.call("GET", "/nodes?limit=500")["items"]
        return items
