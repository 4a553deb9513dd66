"""`vector tap`: prints events of a running pipeline, one a line."""

import http.client
import json
import sys
import time
from urllib.parse import urlencode, urlsplit

from .errors import UnreachableError
from .events import as_json

CONNECT_SECONDS = 5.0


def tap(
    url: str,
    outputs_of: list[str],
    inputs_of: list[str],
    limit: int,
    interval_ms: int,
    duration_ms: int | None,
    meta: bool,
    quiet: bool,
) -> None:
    """Print events until `duration_ms` is over, for ever without it.

    Only the host and port of `url` count: Vectors differ in the path. Raises UnreachableError.
    """
    deadline = time.monotonic() + duration_ms / 1000 if duration_ms is not None else None
    address = urlsplit(url)
    unreachable = UnreachableError(f"Vector API server isn't reachable ({url}).")
    if not address.hostname:
        raise unreachable
    try:
        connection = http.client.HTTPConnection(
            address.hostname, address.port or 8686, timeout=CONNECT_SECONDS
        )
        query = {
            "outputs_of": ",".join(outputs_of),
            "inputs_of": ",".join(inputs_of),
            "limit": limit,
            "interval_ms": interval_ms,
        }
        connection.request("GET", f"/tap?{urlencode(query)}")
        # The answer takes the socket from the connection; its timeout is wanted later.
        stream = connection.sock
        response = connection.getresponse()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise unreachable from error
    if response.status != 200:
        raise UnreachableError(f"What answers at {url} is not the stand-in's API (status {response.status}).")

    while True:
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            stream.settimeout(remaining)
        try:
            line = response.readline()
        except TimeoutError:
            continue
        except OSError as error:
            raise UnreachableError(f"Lost the connection to {url}: {error}") from error
        if not line:
            raise UnreachableError(f"Lost the connection to {url}: the pipeline has stopped.")
        if line.strip():
            _print(json.loads(line), meta, quiet)


def _print(item: dict[str, object], meta: bool, quiet: bool) -> None:
    if "notification" in item:
        if not quiet:
            print(f"[tap] {item['notification']}", file=sys.stderr)
    else:
        print(as_json(item if meta else item["event"]), flush=True)
