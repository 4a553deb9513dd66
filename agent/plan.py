"""A configuration understood: what the server's answer means, and how it differs from what runs. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.protocol import (
    DEFAULT_HEARTBEAT_INTERVAL_MS,
    DEFAULT_IDLE_HEARTBEAT_INTERVAL_MS,
    DEFAULT_IDLE_POLL_INTERVAL_MS,
    DEFAULT_POLL_INTERVAL_MS,
    ID_PATTERN,
)

SHORTEST_INTERVAL_MS = 500
"""No answer makes an agent ask more often than this."""
LONGEST_INTERVAL_MS = 24 * 3600 * 1000
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class AnswerRefusedError(Exception):
    """The server's answer is not a configuration; nothing may be changed because of it."""


@dataclass(frozen=True, slots=True)
class CertFile:
    """A certificate that a pipeline needs as a file."""

    base_name: str
    data: str = field(repr=False)
    """Standard padded base64 of the file."""


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """One version of one pipeline, with all that its child needs. Compared by ``checksum`` alone."""

    pipeline_id: str
    name: str
    version: int
    checksum: str
    config_yaml: str = field(repr=False)
    log_level: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    cert_files: tuple[CertFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Declined:
    """A checksum that failed here, and how often."""

    pipeline_id: str
    checksum: str
    version: int
    error: str
    attempts: int
    refused: bool
    """``vector validate`` refused it: only another checksum helps. Else its child died early."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a later life of the agent must know of this one."""

    pipelines: tuple[PipelineSpec, ...] = ()
    """What this node last ran."""
    declined: tuple[Declined, ...] = ()
    unproved: tuple[str, ...] = ()
    """Ids of those pipelines that were started and never came to run."""
    crashes: tuple[tuple[str, int], ...] = ()
    """How often in a row a pipeline's child has crashed, by id."""


@dataclass(frozen=True, slots=True)
class PendingAction:
    """An action that the server wants done once."""

    type: str
    action_id: str
    pipeline_id: str | None = None
    target_version: str | None = None
    download_url: str | None = None
    checksum: str | None = None
    signature: str | None = None


DEFAULT_SAMPLE_EVENTS = 10
MOST_SAMPLE_EVENTS = 100


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A wish to see what flows through some components of one pipeline."""

    request_id: str
    pipeline_id: str
    component_keys: tuple[str, ...]
    limit: int = DEFAULT_SAMPLE_EVENTS
    """How many events of each at most."""
    sink_keys: tuple[str, ...] = ()
    """Those of the components that have no outputs: their inputs are meant."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often to ask and report; seconds. The idle ones hold while the push channel is up."""

    poll: float = DEFAULT_POLL_INTERVAL_MS / 1000
    idle_poll: float = DEFAULT_IDLE_POLL_INTERVAL_MS / 1000
    heartbeat: float = DEFAULT_HEARTBEAT_INTERVAL_MS / 1000
    idle_heartbeat: float = DEFAULT_IDLE_HEARTBEAT_INTERVAL_MS / 1000
    reconnect_spread: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole answer of ``GET /api/agent/config``."""

    pipelines: Mapping[str, PipelineSpec]
    held: frozenset[str] = frozenset()
    """Ids of pipelines that cannot be assembled just now: what runs of them goes on as it is."""
    revision: str | None = None
    intervals: Intervals = Intervals()
    websocket_url: str | None = None
    push_url: str | None = None
    """Where the push channel is as server-sent events."""
    sample_requests: tuple[SampleRequest, ...] = ()
    pending_action: PendingAction | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What must be done to get from one set of pipelines to another; ids, sorted."""

    start: tuple[str, ...]
    restart: tuple[str, ...]
    relabel: tuple[str, ...]
    """Same checksum, other version or name: nothing restarts, only the report changes."""
    stop: tuple[str, ...]


def difference(running: Mapping[str, PipelineSpec], wanted: Mapping[str, PipelineSpec]) -> Difference:
    """How ``wanted`` differs from ``running``; both by pipeline id."""
    kept = sorted(running.keys() & wanted.keys())
    return Difference(
        start=tuple(sorted(wanted.keys() - running.keys())),
        restart=tuple(id for id in kept if running[id].checksum != wanted[id].checksum),
        relabel=tuple(
            id
            for id in kept
            if running[id].checksum == wanted[id].checksum
            and (running[id].version, running[id].name) != (wanted[id].version, wanted[id].name)
        ),
        stop=tuple(sorted(running.keys() - wanted.keys())),
    )


def parse_plan(body: object) -> Plan:
    """The plan that a decoded ``200`` answer holds; AnswerRefusedError for anything doubtful.

    A missing or odd ``pipelines`` never counts as an empty one: that would stop everything on the node.
    """
    answer = _mapping(body, "the answer")
    entries = answer.get("pipelines")
    if not isinstance(entries, list):
        raise AnswerRefusedError("cannot use the answer: it has no list of pipelines")
    pipelines: dict[str, PipelineSpec] = {}
    held: set[str] = set()
    for entry in entries:
        spec = parse_spec(entry)
        if spec.pipeline_id in pipelines:
            raise AnswerRefusedError(f"cannot use the answer: pipeline {spec.pipeline_id} is listed twice")
        pipelines[spec.pipeline_id] = spec
        if entry.get("hold") is True:
            held.add(spec.pipeline_id)
    usual = Intervals()
    intervals = Intervals(
        poll=_seconds(answer, "pollIntervalMs", usual.poll),
        idle_poll=_seconds(answer, "idlePollIntervalMs", usual.idle_poll),
        heartbeat=_seconds(answer, "heartbeatIntervalMs", usual.heartbeat),
        idle_heartbeat=_seconds(answer, "idleHeartbeatIntervalMs", usual.idle_heartbeat),
        reconnect_spread=_seconds(answer, "reconnectSpreadMs", usual.reconnect_spread),
    )
    return Plan(
        pipelines=pipelines,
        held=frozenset(held),
        revision=_optional_text(answer, "configRevision"),
        intervals=intervals,
        websocket_url=_optional_text(answer, "websocketUrl"),
        push_url=_optional_text(answer, "pushUrl"),
        sample_requests=_sample_requests(answer.get("sampleRequests")),
        pending_action=parse_action(answer.get("pendingAction")),
    )


def parse_spec(entry: object) -> PipelineSpec:
    """One entry of ``pipelines``; AnswerRefusedError where a child could not be run from it."""
    fields = _mapping(entry, "an entry of pipelines")
    pipeline_id = fields.get("pipelineId")
    if not isinstance(pipeline_id, str) or not ID_PATTERN.fullmatch(pipeline_id):
        # The id becomes a folder's name.
        raise AnswerRefusedError("cannot use the answer: a pipeline has no proper pipelineId")
    version = fields.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise AnswerRefusedError(f"cannot use the answer: pipeline {pipeline_id} has no version")
    config_yaml, checksum = fields.get("configYaml"), fields.get("checksum")
    if not isinstance(config_yaml, str) or not isinstance(checksum, str) or not checksum:
        raise AnswerRefusedError(f"cannot use the answer: pipeline {pipeline_id} has no configuration")
    log_level = fields.get("logLevel")
    name = fields.get("pipelineName")
    return PipelineSpec(
        pipeline_id=pipeline_id,
        name=name if isinstance(name, str) else pipeline_id,
        version=version,
        checksum=checksum,
        config_yaml=config_yaml,
        log_level=log_level if isinstance(log_level, str) and log_level else None,
        secrets=_secrets(pipeline_id, fields.get("secrets")),
        cert_files=_cert_files(pipeline_id, fields.get("certFiles")),
    )


def spec_to_json(spec: PipelineSpec) -> dict[str, object]:
    """``spec`` as the entry that :func:`parse_spec` reads; it holds secrets."""
    return {
        "pipelineId": spec.pipeline_id,
        "pipelineName": spec.name,
        "version": spec.version,
        "checksum": spec.checksum,
        "configYaml": spec.config_yaml,
        "logLevel": spec.log_level,
        "secrets": dict(spec.secrets),
        "certFiles": [{"filename": file.base_name, "data": file.data} for file in spec.cert_files],
    }


def parse_action(value: object) -> PendingAction | None:
    """A ``pendingAction`` or a pushed ``action``; ``None`` where it cannot be told apart from another one."""
    if not isinstance(value, dict):
        return None
    # The config answer calls it `type`; in a push that is the message's own type.
    kind = value.get("action", value.get("type"))
    action_id = value.get("actionId")
    if not isinstance(kind, str) or not isinstance(action_id, str):
        return None
    return PendingAction(
        type=kind,
        action_id=action_id,
        pipeline_id=_optional_text(value, "pipelineId"),
        target_version=_optional_text(value, "targetVersion"),
        download_url=_optional_text(value, "downloadUrl"),
        checksum=_optional_text(value, "checksum"),
        signature=_optional_text(value, "signature"),
    )


def parse_sample_request(value: object) -> SampleRequest | None:
    """An entry of ``sampleRequests`` or a pushed ``sample_request``; ``None`` if it cannot be answered."""
    if not isinstance(value, dict):
        return None
    request_id, pipeline_id, keys = (value.get(k) for k in ("requestId", "pipelineId", "componentKeys"))
    limit, sinks = value.get("limit"), value.get("sinkKeys")
    if not isinstance(request_id, str) or not isinstance(pipeline_id, str) or not isinstance(keys, list):
        return None
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        limit = DEFAULT_SAMPLE_EVENTS
    return SampleRequest(
        request_id,
        pipeline_id,
        tuple(key for key in keys if isinstance(key, str)),
        min(limit, MOST_SAMPLE_EVENTS),
        tuple(key for key in sinks if isinstance(key, str)) if isinstance(sinks, list) else (),
    )


def seconds_from_ms(value: object, otherwise: float) -> float:
    """An interval on the wire as seconds, within bounds; ``otherwise`` where it is no positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return otherwise
    return min(max(value, SHORTEST_INTERVAL_MS), LONGEST_INTERVAL_MS) / 1000


def _seconds(answer: Mapping[str, Any], key: str, otherwise: float) -> float:
    return seconds_from_ms(answer.get(key), otherwise)


def _optional_text(answer: Mapping[str, Any], key: str) -> str | None:
    value = answer.get(key)
    return value if isinstance(value, str) and value else None


def _sample_requests(value: object) -> tuple[SampleRequest, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(request for request in map(parse_sample_request, value) if request is not None)


def _secrets(pipeline_id: str, value: object) -> dict[str, str]:
    secrets = _mapping(value or {}, f"secrets of pipeline {pipeline_id}")
    for name, text in secrets.items():
        if not ENVIRONMENT_NAME.fullmatch(name) or not isinstance(text, str) or "\0" in text:
            # The value stays out of the sentence: it may be logged.
            raise AnswerRefusedError(f"cannot use the answer: a secret of {pipeline_id} is malformed")
    return secrets


def _cert_files(pipeline_id: str, value: object) -> tuple[CertFile, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise AnswerRefusedError(f"cannot use the answer: certFiles of pipeline {pipeline_id} is not a list")
    files: list[CertFile] = []
    for entry in value:
        fields = _mapping(entry, f"a certificate of pipeline {pipeline_id}")
        filename, data = fields.get("filename"), fields.get("data")
        # Whatever path was sent, the file lands in the folder for certificates and nowhere else.
        base_name = posixpath.basename(filename.replace("\\", "/")) if isinstance(filename, str) else ""
        if base_name in ("", ".", "..") or "\0" in base_name or not isinstance(data, str):
            raise AnswerRefusedError(f"cannot use the answer: a certificate of {pipeline_id} is malformed")
        files.append(CertFile(base_name, data))
    return tuple(files)


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnswerRefusedError(f"cannot use the answer: {what} is not an object")
    return value
