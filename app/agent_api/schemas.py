"""The bodies of the agent API that no use defines itself."""

from __future__ import annotations

from pydantic import Field

from app.json_body import HostName, ShortText, Wire


class Enrollment(Wire):
    """The body of ``POST /api/agent/enroll``."""

    token: str = Field(max_length=256)
    hostname: HostName = Field(min_length=1)
    os: ShortText | None = None
    agent_version: ShortText | None = None
    vector_version: ShortText | None = None
    labels: dict[str, str] | None = None
    install_id: ShortText | None = None
