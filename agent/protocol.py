"""The words on the wire between node and server, as docs/protocol.md describes them.

The one module that ``app`` may import from ``agent``. It imports nothing but the standard library.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

ENROLL_PATH = "/api/agent/enroll"
CONFIG_PATH = "/api/agent/config"
HEARTBEAT_PATH = "/api/agent/heartbeat"
SAMPLES_PATH = "/api/agent/samples"
LOGS_PATH = "/api/agent/logs"
TAP_EVENTS_PATH = "/api/agent/tap-events"
WEBSOCKET_PATH = "/api/agent/ws"
SSE_PATH = "/api/agent/push"

CONFIG_REVISION_HEADER = "X-Config-Revision"
"""On opening the push channel: the revision that the agent runs or tried in vain; it is nudged only if behind."""
AGENT_INSTANCE_HEADER = "X-Agent-Instance"
"""On opening the push channel: the agent's boot id. A takeover by the same instance is a reconnect, not a duel."""


class MessageType(StrEnum):
    """What the server pushes. An agent logs and ignores a type that it does not know."""

    CONFIG_CHANGED = "config_changed"
    SAMPLE_REQUEST = "sample_request"
    ACTION = "action"
    POLL_INTERVAL = "poll_interval"
    TAP_START = "tap_start"
    TAP_STOP = "tap_stop"


class Transport(StrEnum):
    """The form of a push channel; one node has one live channel, whichever form."""

    WS = "ws"
    """A WebSocket."""
    SSE = "sse"
    """Server-sent events."""


class Reason(StrEnum):
    """Why a ``config_changed`` was sent."""

    DEPLOY = "deploy"
    UNDEPLOY = "undeploy"
    ROLLBACK = "rollback"
    MAINTENANCE = "maintenance"
    SECRET = "secret"
    LABEL = "label"
    RESYNC = "resync"
    CONNECTED = "connected"


class ActionType(StrEnum):
    """What an ``action`` asks for."""

    SELF_UPDATE = "self_update"
    RESTART = "restart"


class PipelineStatus(StrEnum):
    """How a pipeline is on a node. The server stores an unknown one as it came."""

    RUNNING = "RUNNING"
    STARTING = "STARTING"
    STOPPED = "STOPPED"
    CRASHED = "CRASHED"
    CRASH_LOOP = "CRASH_LOOP"
    PENDING = "PENDING"
    FAILED = "FAILED"


class DeploymentMode(StrEnum):
    """Where an agent runs."""

    STANDALONE = "STANDALONE"
    DOCKER = "DOCKER"
    UNKNOWN = "UNKNOWN"


class CloseCode(IntEnum):
    """Why the server closes a push channel; the number decides whether and when the agent comes back."""

    NORMAL = 1000
    """With the reason ``replaced``: a newer connection of the same node took over."""
    GOING_AWAY = 1001
    """This worker leaves or has too many sockets: come back."""
    PROTOCOL_ERROR = 1002
    POLICY = 1008
    """With the reason ``revoked``, or for an agent that sends too much."""
    TOO_BIG = 1009


CLOSE_EVENT = "close"
"""The last event of an event stream, ``{code, reason}``, in place of a close frame."""
REPLACED = "replaced"
REVOKED = "revoked"

SECRET_BACKEND = "BUILTIN"

ID_PATTERN = re.compile(r"[0-9a-z]{1,32}")
"""Every id, node and pipeline alike; an underscore would split a token."""

DEFAULT_POLL_INTERVAL_MS = 15_000
DEFAULT_IDLE_POLL_INTERVAL_MS = 300_000
DEFAULT_HEARTBEAT_INTERVAL_MS = 15_000
DEFAULT_IDLE_HEARTBEAT_INTERVAL_MS = 60_000

READ_DEADLINE_SECONDS = 45.0
"""An agent drops a push channel on which it has read nothing for so long."""
KEEPALIVE_SECONDS = 30.0
"""The server sends a ping and an unsolicited pong at intervals of at most so long."""
PONG_GRACE_SECONDS = 10.0
"""How late a pong may be before the server drops the socket."""
MAX_AGENT_FRAME_BYTES = 64 * 1024
"""A larger frame from an agent closes its channel with 1009."""
MAX_BODY_BYTES = 1024 * 1024
MAX_REPORT_BODY_BYTES = 16 * 1024 * 1024
"""Heartbeat, samples, logs and tap-events."""
MAX_HOSTNAME_CHARACTERS = 253
MAX_VERSION_CHARACTERS = 100
MAX_RECENT_LOG_LINES = 100


def encode(message: dict[str, object]) -> str:
    """The JSON text of one push message or body, without spaces and without NaN."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def rfc3339(moment: datetime) -> str:
    """``moment`` (aware) as RFC 3339 in UTC with milliseconds and ``Z``."""
    if moment.tzinfo is None:
        raise ValueError("cannot write a time without a zone on the wire")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """The aware UTC time that ``text`` names; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"cannot read a time without a zone: {text!r}")
    return moment.astimezone(UTC)
