"""The API of a running stand-in.

    GET /health     {"ok":true}
    GET /tap?outputs_of=a,b*&inputs_of=…&limit=N&interval_ms=MS
                    a JSON object a line, for as long as the client stays: {"notification": …} or what
                    `taps.Tap.next` gives; an empty line now and then

Vector's own API speaks GraphQL or gRPC; only /health is the same, and only our `vector tap` needs the other.
"""

from urllib.parse import parse_qs, urlsplit

from . import log
from .events import as_json
from .listener import Answer, Listener
from .taps import Tap
from .topology import Topology

# How soon a client that has gone is noticed.
HEARTBEAT_SECONDS = 1.0


def start(address: str, topology: Topology) -> None:
    """Serve the API until the process ends. Raises OSError if the address cannot be had."""

    class ApiAnswer(Answer):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/health":
                self.answer(200, "application/json", '{"ok":true}')
            elif url.path == "/tap":
                self._tap(parse_qs(url.query))
            else:
                self.answer(404, "text/plain", "")

        do_HEAD = do_GET

        def _tap(self, query: dict[str, list[str]]) -> None:
            def names(field: str) -> list[str]:
                return [name for name in query.get(field, [""])[0].split(",") if name]

            try:
                limit, interval_ms = (int(query[field][0]) for field in ("limit", "interval_ms"))
            except (KeyError, ValueError):
                self.answer(400, "text/plain", "limit and interval_ms must be numbers\n")
                return
            tap = Tap(topology.parts, names("outputs_of"), names("inputs_of"), limit, interval_ms / 1000)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            topology.attach(tap)
            try:
                for pattern in tap.unmatched:
                    self._line(
                        as_json({"notification": f"Pattern '{pattern}' failed to match any component"})
                    )
                while True:
                    found = tap.next(timeout=HEARTBEAT_SECONDS)
                    self._line(as_json(found) if found else "")
            except OSError:
                # The client has what it wanted.
                return
            finally:
                topology.detach(tap)

        def _line(self, text: str) -> None:
            self.wfile.write(text.encode("utf-8", "replace") + b"\n")

    listener = Listener(address, ApiAnswer)
    listener.start()
    log.info("vector::internal_events::api", "API server running.", address=listener.address)
