"""gunicorn's access log as one JSON object a line, which a Vector pipeline can read as it is.

A request whose socket was handed to the hub has no line here; ``signalbox.push`` writes its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from gunicorn.glogging import Logger


class JsonAccessLogger(Logger):  # type: ignore[misc]
    """Logs each request's time, address, method, path, status, size, milliseconds and user agent."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Called by gunicorn after each request. The query is left out: it may hold what nobody should read."""
        if not self.cfg.accesslog:
            return
        status = resp.status
        line = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "remote": environ.get("REMOTE_ADDR", ""),
            "method": environ.get("REQUEST_METHOD", ""),
            "path": environ.get("PATH_INFO", ""),
            "status": int(str(status).split(None, 1)[0]) if status else 0,
            "bytes": getattr(resp, "sent", None) or 0,
            "milliseconds": round(request_time.total_seconds() * 1000, 3),
            "agent": environ.get("HTTP_USER_AGENT", ""),
        }
        self.access_log.info("%s", json.dumps(line))
