"""What each node must run, assembled once for all nodes that match the same pipelines.

Nonce first, content second, both from one snapshot: a plan can only be too new for its nonce, never too old,
and is thrown away as soon as the environment has another nonce (hazards 1 and 5). Plans live in this worker's
memory, bounded; one worker assembles for all, who get it encrypted through Redis (ADR 15).

What cannot be assembled is served as it last was and marked ``hold``, lest nodes stop it; such a plan never
enters the cache, because what mends it need not be a change of the environment (hazard 4).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import last_assembled, selectors, shared_plans
from app.database import outside_of_views, snapshot
from app.errors import NotFoundError
from app.materials import NOTHING, Material, Materials, UnassembledError
from app.models import Environment, Pipeline, PipelineVersion
from app.push.meters import ASSEMBLIES
from app.references import Names

log = logging.getLogger("signalbox.assembly")

CHECKSUM_SCHEME = 1
"""The formula of ``checksum``. A new formula takes the next number and leaves stored checksums alone (hazard 3)."""

MAX_ENVIRONMENTS_CACHED = 64
MAX_NODE_PLANS_CACHED = 1024
MAX_BYTES_CACHED = 16 * 1024 * 1024
"""Of the encoded plans of one environment, each of which repeats its certificates."""
VECTOR_SWITCHES = {"VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION": "true"}
"""What Vector from 0.57 on needs in its environment, lest it leave ``${...}`` as it stands."""


@dataclass(frozen=True, slots=True)
class WantedPipeline:
    """One deployed pipeline as nodes get it."""

    pipeline_id: str
    name: str
    version: int
    rendered_yaml: str
    checksum: str
    log_level: str | None
    selector: selectors.Selector
    material: Material = field(default=NOTHING, repr=False)
    hold: str | None = None
    """Why it cannot be assembled just now, a sentence that holds no value; the checksum is then the last one."""

    def to_wire(self) -> dict[str, Any]:
        """One entry of ``pipelines`` in the config answer."""
        entry: dict[str, Any] = {
            "pipelineId": self.pipeline_id,
            "pipelineName": self.name,
            "version": self.version,
            "configYaml": self.rendered_yaml,
            "checksum": self.checksum,
        }
        if self.hold is not None:
            entry["hold"] = True
        else:
            entry["secrets"] = {**VECTOR_SWITCHES, **self.material.secrets}
        if self.material.cert_files:
            entry["certFiles"] = [
                {"name": file.name, "filename": file.filename, "data": base64.b64encode(file.data).decode()}
                for file in self.material.cert_files
            ]
        if self.log_level is not None:
            entry["logLevel"] = self.log_level
        return entry


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What all nodes that match the same pipelines must run."""

    pipelines: tuple[WantedPipeline, ...]
    revision: str
    """``configRevision``: changes exactly when ``pipelines`` or maintenance does."""
    body: bytes = field(repr=False)
    """The JSON list ``pipelines`` of the config answer, encoded once."""


@dataclass(slots=True)
class EnvironmentPlan:
    """All deployed pipelines of one environment, as they stood at one nonce."""

    environment_id: str
    nonce: str
    key: bytes = field(repr=False)
    pipelines: tuple[WantedPipeline, ...]
    _by_labels: OrderedDict[tuple[Any, ...], NodePlan] = field(default_factory=OrderedDict)
    _by_match: dict[tuple[Any, ...], NodePlan] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def held(self) -> dict[str, str]:
        """Why, by the id of each pipeline that cannot be assembled just now."""
        return {pipeline.pipeline_id: pipeline.hold for pipeline in self.pipelines if pipeline.hold}

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` takes, secrets included; of a plan without a pipeline on hold."""
        return {
            "key": self.key.hex(),
            "pipelines": [
                {
                    "pipeline_id": pipeline.pipeline_id,
                    "name": pipeline.name,
                    "version": pipeline.version,
                    "rendered_yaml": pipeline.rendered_yaml,
                    "checksum": pipeline.checksum,
                    "log_level": pipeline.log_level,
                    "selector": str(pipeline.selector),
                    "material": pipeline.material.to_json(),
                }
                for pipeline in self.pipelines
            ],
        }

    @classmethod
    def from_json(cls, environment_id: str, nonce: str, plan: Mapping[str, Any]) -> EnvironmentPlan:
        """The plan that another worker assembled at *nonce*."""
        pipelines = tuple(
            WantedPipeline(
                **{
                    **pipeline,
                    "selector": selectors.parse(pipeline["selector"]),
                    "material": Material.from_json(pipeline["material"]),
                }
            )
            for pipeline in plan["pipelines"]
        )
        return cls(environment_id, nonce, bytes.fromhex(plan["key"]), pipelines)

    def for_node(self, labels: Mapping[str, str], maintenance: bool) -> NodePlan:
        """The plan of a node with *labels* (see ``selectable_labels``)."""
        key = (maintenance, *sorted(labels.items()))
        plan = self._by_labels.get(key)
        if plan is not None:
            return plan
        matching = () if maintenance else tuple(p for p in self.pipelines if p.selector.matches(labels))
        match = (maintenance, *(p.pipeline_id for p in matching))
        plan = self._by_match.get(match)
        if plan is None:
            plan = _node_plan(self.key, matching, maintenance)
            self._bytes += len(plan.body)
            if len(self._by_match) >= MAX_NODE_PLANS_CACHED or self._bytes > MAX_BYTES_CACHED:
                # Both, since either alone would keep the plans alive.
                self._by_match.clear()
                self._by_labels.clear()
                self._bytes = len(plan.body)
            self._by_match[match] = plan
        self._by_labels[key] = plan
        if len(self._by_labels) > MAX_NODE_PLANS_CACHED:
            self._by_labels.popitem(last=False)
        return plan


def checksum_of(
    key: str,
    rendered_yaml: str,
    log_level: str | None,
    secrets: Mapping[str, str] | None = None,
    certificates: Iterable[tuple[str, bytes]] = (),
) -> str:
    """HMAC-SHA256 (64 hex) under the environment's *key* over all that must cause a restart.

    *certificates* are pairs of file name and bytes. The same in every release: a golden test holds it.
    """
    content = [
        CHECKSUM_SCHEME,
        rendered_yaml,
        log_level,
        sorted((secrets or {}).items()),
        sorted((name, hashlib.sha256(data).hexdigest()) for name, data in certificates),
    ]
    message = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()
    return hmac.new(bytes.fromhex(key), message, hashlib.sha256).hexdigest()


def selectable_labels(
    operator_labels: Mapping[str, str], agent_labels: Mapping[str, str], allowed_agent_keys: Iterable[str]
) -> dict[str, str]:
    """The labels that selectors look at: the operator's, over those of the agent's that the environment allows.

    An agent could otherwise label itself into another role's secrets (hazard 30).
    """
    allowed = {key: agent_labels[key] for key in allowed_agent_keys if key in agent_labels}
    return {**allowed, **operator_labels}


def remember(session: Session, environment: Environment, version: PipelineVersion) -> None:
    """Note the checksum that nodes get for a deployed *version*, for when it cannot be assembled (hazard 4).

    In the transaction that deploys it or changes what it names.

    :raises UnassembledError: it cannot be assembled now.
    """
    names = Names.from_json(version.reference_names)
    if names:
        material = Materials(session, environment.id, [names]).of(names)
        checksum = _checksum(environment.checksum_key, version, material)
        last_assembled.keep(session, environment.id, version, checksum)


_plans: OrderedDict[str, EnvironmentPlan] = OrderedDict()
_assembling: dict[str, threading.Lock] = {}
_held: OrderedDict[str, tuple[float, EnvironmentPlan]] = OrderedDict()
"""No cache: the last plan with a pipeline on hold and when its assembly began, for who asked before that."""


def wanted_for(environment_id: str, nonce: str | None = None) -> EnvironmentPlan:
    """The environment's plan; from the cache where it was assembled at *nonce*.

    Without *nonce* the database is asked for it. The plan returned may be newer than *nonce*, never older.

    :raises NotFoundError: there is no such environment.
    """
    if nonce is None:
        nonce = snapshot(lambda session: _nonce(session, environment_id))
    plan = _plans.get(environment_id)
    if plan is not None and plan.nonce == nonce:
        _plans.move_to_end(environment_id)
        return plan
    asked = time.monotonic()
    # An old view would put an old plan in the place of a newer one, here and in Redis.
    with outside_of_views(), _assembling.setdefault(environment_id, threading.Lock()):
        plan = _plans.get(environment_id)
        if plan is not None and plan.nonce == nonce:
            return plan
        begun, held = _held.get(environment_id, (0.0, None))
        if held is not None and held.nonce == nonce and begun >= asked:
            return held
        begun, cached = time.monotonic(), plan
        present = snapshot(lambda session: _nonce(session, environment_id))
        if cached is not None and cached.nonce == present:
            return cached  # what was asked for: it was the asker's nonce that was old
        plan = _shared_or_assembled(environment_id, present)
        _report_held(plan, held)
        if plan.held:
            _plans.pop(environment_id, None)
            _keep_bounded(_held, environment_id, (begun, plan))
        else:
            _held.pop(environment_id, None)
            for forgotten in _keep_bounded(_plans, environment_id, plan):
                _assembling.pop(forgotten, None)
        return plan


def _keep_bounded(kept: OrderedDict[str, Any], environment_id: str, value: Any) -> list[str]:
    """Keep *value* as the youngest; the ids of those environments that had to go for it."""
    kept[environment_id] = value
    kept.move_to_end(environment_id)
    return [kept.popitem(last=False)[0] for _ in range(len(kept) - MAX_ENVIRONMENTS_CACHED)]


def _report_held(plan: EnvironmentPlan, before: EnvironmentPlan | None) -> None:
    """Log what is on hold once, not at every request."""
    known = before.held if before is not None else {}
    for pipeline_id, reason in plan.held.items():
        if known.get(pipeline_id) != reason:
            log.error("pipeline held pipeline=%s: %s", pipeline_id, reason)


def _nonce(session: Session, environment_id: str) -> str:
    nonce = session.scalar(select(Environment.nonce).where(Environment.id == environment_id))
    if nonce is None:
        raise NotFoundError("There is no such environment.")
    return nonce


def _shared_or_assembled(environment_id: str, nonce: str) -> EnvironmentPlan:
    """The plan of *nonce* that another worker has assembled, or one of our own, which may be newer."""
    with shared_plans.turn(environment_id, nonce) as turn:
        if turn.found is not None:
            return EnvironmentPlan.from_json(environment_id, nonce, turn.found)
        plan = snapshot(lambda session: _assemble(session, environment_id))
        ASSEMBLIES.inc()
        if plan.nonce == nonce and not plan.held:
            turn.keep(plan.to_json())
        return plan


def _assemble(session: Session, environment_id: str) -> EnvironmentPlan:
    nonce = _nonce(session, environment_id)
    key = session.scalars(select(Environment.checksum_key).where(Environment.id == environment_id)).one()
    rows = session.execute(
        select(Pipeline.name, PipelineVersion)
        .join(
            PipelineVersion,
            (PipelineVersion.pipeline_id == Pipeline.id)
            & (PipelineVersion.version == Pipeline.wanted_version),
        )
        .where(Pipeline.environment_id == environment_id)
        .order_by(Pipeline.id)
    ).all()
    materials = Materials(
        session, environment_id, (Names.from_json(version.reference_names) for _, version in rows)
    )
    pipelines = tuple(
        _wanted(session, environment_id, key, name, version, materials) for name, version in rows
    )
    return EnvironmentPlan(environment_id, nonce, bytes.fromhex(key), pipelines)


def _wanted(
    session: Session, environment_id: str, key: str, name: str, version: PipelineVersion, materials: Materials
) -> WantedPipeline:
    names, checksum, material, hold = (
        Names.from_json(version.reference_names),
        version.checksum,
        NOTHING,
        None,
    )
    if names:
        try:
            material = materials.of(names)
            checksum = _checksum(key, version, material)
        except UnassembledError as error:
            hold = str(error)
            checksum = last_assembled.recall(session, environment_id, version) or version.checksum
    return WantedPipeline(
        pipeline_id=version.pipeline_id,
        name=name,
        version=version.version,
        rendered_yaml=version.rendered_yaml,
        checksum=checksum,
        log_level=version.log_level,
        selector=selectors.parse(version.node_selector),
        material=material,
        hold=hold,
    )


def _checksum(key: str, version: PipelineVersion, material: Material) -> str:
    return checksum_of(
        key,
        version.rendered_yaml,
        version.log_level,
        material.secrets,
        [(file.filename, file.data) for file in material.cert_files],
    )


def _node_plan(key: bytes, pipelines: tuple[WantedPipeline, ...], maintenance: bool) -> NodePlan:
    body = json.dumps([pipeline.to_wire() for pipeline in pipelines], separators=(",", ":")).encode()
    revision = hmac.new(key, (b"maintenance" if maintenance else b"run") + body, hashlib.sha256).hexdigest()[
        :32
    ]
    return NodePlan(pipelines, revision, body)
