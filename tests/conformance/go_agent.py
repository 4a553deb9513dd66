"""What the agents A and B have in common: enrolling, polling, heartbeats, and pipelines that are said to run.

Nothing is started: a pipeline *runs* from the moment its configuration was taken until it is no longer listed.
One thread owns the state, as theirs does; others only put messages on its queue of sixteen.
"""

import base64
import binascii
import hashlib
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import requests
import yaml

from tests.conformance import go_json
from tests.conformance.go_json import UnreadableError

HTTP_SECONDS = 30.0
QUEUE_LENGTH = 16
DEBOUNCE_SECONDS = 1.0
EVENTS_A_SECOND = 50


class RefusedError(Exception):
    """The answer was not 200, which alone is success; `status` is what it was, 0 where none came."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


@dataclass
class Running:
    """A pipeline on this node."""

    name: str
    version: int
    checksum: str
    yaml: str
    log_level: str | None
    secrets: dict[str, str] = field(default_factory=dict)
    starts: int = 1
    since: float = field(default_factory=time.monotonic)
    status: str = "RUNNING"
    said: list[str] = field(default_factory=list)
    """The lines that it has printed, for the next heartbeat's ``recentLogs``."""

    @property
    def events(self) -> int:
        """A cumulative counter, which begins again at 0 when the process does."""
        return int((time.monotonic() - self.since) * EVENTS_A_SECOND)

    @property
    def components(self) -> list[tuple[str, str]]:
        """``(id, kind)`` of each."""
        tree = yaml.safe_load(self.yaml) or {}
        return [
            (name, kind) for kind in ("sources", "transforms", "sinks") for name in (tree.get(kind) or {})
        ]


@dataclass(frozen=True)
class Tapped:
    """What one tap has seen of one component."""

    result: dict[str, Any]
    run: int
    """Which time this agent took something up that it was asked; the events carry it."""
    is_pushed: bool
    """Posted at once; what was listed in an answer goes into the next heartbeat."""


class GoAgent:
    """One agent with its data folder; `start` may be called again after `stop`, as a service is restarted."""

    version = "conformance"
    vector_version = "vector 0.48.0 (x86_64-unknown-linux-musl 1234567 2025-07-01 00:00:00.000000000)"

    def __init__(
        self,
        folder: Path,
        url: str,
        enrollment_token: str = "",
        *,
        poll_seconds: float = 15.0,
        name: str = "go",
    ) -> None:
        """`folder` is its VF_DATA_DIR, `url` its VF_URL, `enrollment_token` its VF_TOKEN, for the first start."""
        self.folder = folder
        self.url = url.rstrip("/")
        self.name = name
        self.enrollment_token = enrollment_token
        self.poll_seconds = poll_seconds
        self.token = ""
        self.pipelines: dict[str, Running] = {}
        self.update_error = ""
        self.failed_update = ""
        self.trusted: Path | None = None
        """Certificates that downloads may be signed with; None: those of the machine."""
        self.sample_results: list[dict[str, Any]] = []
        self.untappable: dict[str, str] = {}
        """Components that `vector tap` fails at, and what it says."""
        self.holds_taps = False
        """Taps take seconds: where this is set, each ends only when `end_taps` says so."""
        self.taps_held: list[Tapped] = []
        self.counts: Counter[str] = Counter()
        """polls, heartbeats, connects, drops, dropped messages, `pushed <type>`, and each kind of failure."""
        self.problems: list[str] = []
        """What an agent would have logged as an error."""
        self.messages: list[dict[str, Any]] = []
        self.points: list[str] = []
        """Numbers with a point or an exponent in anything that the server has said, and where."""
        self.is_connected = False
        self.is_beating = False
        """A heartbeat, with the results that are no longer in `sample_results`, has not been answered yet."""
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue(QUEUE_LENGTH)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    # life

    def start(self) -> "GoAgent":
        self._stopping.clear()
        self._spawn(self._run)
        return self

    def stop(self) -> None:
        """SIGTERM: everything ends, only the data folder stays."""
        self._stopping.set()
        self.close_channel()
        for thread in self._threads:
            thread.join(HTTP_SECONDS)
            assert not thread.is_alive(), f"{self.name} does not stop"
        self._threads.clear()
        self.pipelines.clear()

    def _spawn(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=self.name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        try:
            self.token = self._load_or_enroll()
        except (RefusedError, UnreadableError) as error:
            self._failed("enroll", error)
            return
        answer = self._poll()
        self.open_channel(answer)
        self._heartbeat()
        poll_at = time.monotonic() + self.poll_seconds
        heartbeat_at: float | None = None
        while not self._stopping.is_set():
            due = min(poll_at, heartbeat_at or poll_at)
            try:
                message = self._inbox.get(timeout=min(0.1, max(0.001, due - time.monotonic())))
            except queue.Empty:
                now = time.monotonic()
                if now >= poll_at:
                    self._poll()
                    self._heartbeat()
                    poll_at = time.monotonic() + self.poll_seconds
                elif heartbeat_at is not None and now >= heartbeat_at:
                    heartbeat_at = None
                    self._heartbeat()
                continue
            interval = self.poll_seconds
            if self._obey(message):
                heartbeat_at = time.monotonic() + DEBOUNCE_SECONDS
            if self.poll_seconds != interval:
                poll_at = time.monotonic() + self.poll_seconds

    # the push channel, which differs

    def open_channel(self, answer: dict[str, Any] | None) -> None:
        """Called once, with the very first answer (None: it was refused)."""
        raise NotImplementedError

    def close_channel(self) -> None:
        """Wake whoever reads it."""
        raise NotImplementedError

    def offer(self, data: bytes) -> None:
        """Put a pushed message on the queue; one more than it holds is dropped."""
        self.points += go_json.points(data, "pushed")
        try:
            message = go_json.read(data, go_json.PUSHED)
        except UnreadableError as error:
            self._failed("push message", error)
            return
        self.counts[f"pushed {message.get('type')}"] += 1
        self.messages.append(message)
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            self.counts["dropped messages"] += 1

    def _obey(self, message: dict[str, Any]) -> bool:
        """Do what was pushed; whether a heartbeat is to follow."""
        kind = message.get("type")
        if kind == "config_changed":
            self._poll()
            return True
        if kind == "sample_request":
            self._sample(message, is_pushed=True)
        elif kind == "action":
            return self.act(message)
        elif kind == "poll_interval" and (message.get("intervalMs") or 0) > 0:
            self.poll_seconds = message["intervalMs"] / 1000
        return False

    def act(self, message: dict[str, Any]) -> bool:
        """An ``action``; whether a heartbeat is to follow."""
        if message.get("action") == "self_update":
            self._update(message)
        else:
            self._poll()
        return True

    # requests

    def call(self, method: str, path: str, body: Any = None, shape: go_json.Shape = go_json.ANY) -> Any:
        """The answer, read as `shape`; RefusedError for every status but 200."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.request(
                    method, f"{self.url}/api/agent/{path}", json=body, headers=headers, timeout=HTTP_SECONDS
                )
        except requests.RequestException as error:
            raise RefusedError(0, str(error)) from None
        if response.status_code != 200:
            raise RefusedError(response.status_code, response.text)
        self.points += go_json.points(response.content, path)
        return go_json.read(response.content, shape)

    def _load_or_enroll(self) -> str:
        file = self.folder / "node-token"
        if file.exists() and (token := file.read_text().strip()):
            return token
        body = {
            "token": self.enrollment_token,
            "hostname": self.name,
            "os": "linux/amd64",
            "agentVersion": self.version,
            "vectorVersion": self.vector_version,
        }
        self.token = ""
        answer = self.call("POST", "enroll", body, go_json.ENROLLED)
        file.write_text(answer["nodeToken"])
        self.counts["enrolled"] += 1
        return str(answer["nodeToken"])

    def _poll(self) -> dict[str, Any] | None:
        """Fetch and apply; the answer, or None if it was refused."""
        try:
            answer: dict[str, Any] = self.call("GET", "config", shape=go_json.CONFIG)
            self._apply(answer.get("pipelines") or [])
        except (RefusedError, UnreadableError) as error:
            self._failed("poll", error)
            return None
        self.counts["polls"] += 1
        self.polled(answer)
        for wanted in answer.get("sampleRequests") or []:
            self._sample(wanted)  # again at each poll, as long as it is listed
        action = answer.get("pendingAction")
        if action and action.get("type") == "self_update":
            self._update(action)
        return answer

    def polled(self, answer: dict[str, Any]) -> None:
        """What else is done with each answer."""

    def _apply(self, listed: list[dict[str, Any]]) -> None:
        wanted = {each["pipelineId"]: each for each in listed}
        for each in listed:
            self._write_certificates(each)
        for pipeline_id in self.pipelines.keys() - wanted.keys():
            del self.pipelines[pipeline_id]
            self._file(pipeline_id).unlink()
            self.counts["stopped"] += 1
        for pipeline_id, each in wanted.items():
            running = self.pipelines.get(pipeline_id)
            if running is None or running.checksum != each["checksum"]:
                self._file(pipeline_id).write_text(each["configYaml"])
                self.pipelines[pipeline_id] = Running(
                    each["pipelineName"],
                    each["version"],
                    each["checksum"],
                    each["configYaml"],
                    each.get("logLevel"),
                    each.get("secrets") or {},
                    starts=running.starts + 1 if running else 1,
                )
            else:
                running.version = each["version"]

    def _file(self, pipeline_id: str) -> Path:
        folder = self.folder / "pipelines"
        folder.mkdir(exist_ok=True)
        return folder / f"{pipeline_id}.yaml"

    def _write_certificates(self, pipeline: dict[str, Any]) -> None:
        for each in pipeline.get("certFiles") or []:
            try:
                data = base64.b64decode(each["data"], validate=True)
            except binascii.Error as error:
                raise UnreadableError(f"certificate {each['name']}: {error}") from None
            folder = self.folder / "certs"
            folder.mkdir(exist_ok=True)
            (folder / PurePosixPath(each["filename"]).name).write_bytes(data)
            self.counts["certificates written"] += 1

    def _heartbeat(self) -> None:
        self.is_beating = True
        try:
            self._beat()
        finally:
            self.is_beating = False

    def _beat(self) -> None:
        results, self.sample_results = self.sample_results, []
        body = self.heartbeat_body()
        if results:
            body["sampleResults"] = results
        if self.update_error:
            body["updateError"] = self.update_error
        try:
            self.call("POST", "heartbeat", body)
        except (RefusedError, UnreadableError) as error:
            self.sample_results = results + self.sample_results
            self._failed("heartbeat", error)
            return
        self.update_error = ""
        self.counts["heartbeats"] += 1

    def heartbeat_body(self) -> dict[str, Any]:
        """Go leaves fields of ``omitempty`` out where they are zero; `pipelines` is always there."""
        pipelines = []
        for pipeline_id, running in list(self.pipelines.items()):
            events, runs = running.events, running.status == "RUNNING"
            body = {
                "pipelineId": pipeline_id,
                "version": running.version,
                "status": running.status,
                "pid": 4711 if runs else 0,
                "uptimeSeconds": int(time.monotonic() - running.since) if runs else 0,
                "eventsIn": events if runs else 0,
                "eventsOut": events if runs else 0,
                "bytesIn": events * 100 if runs else 0,
                "recentLogs": running.said[-100:],
                "componentMetrics": [
                    {
                        "componentId": name,
                        "componentKind": kind.removesuffix("s"),
                        "receivedEvents": events,
                        "sentEvents": events,
                    }
                    for name, kind in running.components
                    if runs
                ],
            }
            always = ("pipelineId", "version", "status")
            pipelines.append({key: value for key, value in body.items() if value or key in always})
        return {
            "pipelines": pipelines,
            "hostMetrics": {"memoryTotalBytes": 8 << 30, "memoryFreeBytes": 4 << 30, "loadAvg1": 0.25},
            "agentVersion": self.version,
            "vectorVersion": self.vector_version,
            "deploymentMode": "STANDALONE",
        }

    # samples and updates

    def _sample(self, wanted: dict[str, Any], *, is_pushed: bool = False) -> None:
        running = self.pipelines.get(wanted["pipelineId"])
        known = [name for name, _ in running.components] if running else []
        self.counts["samplings"] += 1
        run = self.counts["samplings"]
        for key in wanted["componentKeys"]:
            result: dict[str, Any] = {"requestId": wanted["requestId"], "componentKey": key}
            if key in self.untappable:
                result["error"] = self.untappable[key]
            elif key in known:
                result["events"] = [
                    {"message": f"event {number}", "run": run} for number in range(wanted["limit"])
                ]
                result["schema"] = [{"path": ".message", "type": "string", "sample": "event 0"}]
            else:
                result["error"] = "pipeline not running" if running else "pipeline not found"
            tapped = Tapped(result, run, is_pushed)
            if self.holds_taps:
                self.taps_held.append(tapped)
            else:
                self._tell(tapped)

    def end_taps(self, key: str, *runs: int) -> None:
        """Let the taps that are held of one component, and of these runs (of all) end, oldest first."""
        for tapped in list(self.taps_held):
            if tapped.result["componentKey"] == key and (not runs or tapped.run in runs):
                self.taps_held.remove(tapped)
                self._tell(tapped)

    def _tell(self, tapped: Tapped) -> None:
        if tapped.is_pushed:
            try:
                self.call("POST", "samples", {"results": [tapped.result]})
                return
            except (RefusedError, UnreadableError) as error:
                self._failed("samples", error)
        self.sample_results.append(tapped.result)

    def _update(self, action: dict[str, Any]) -> None:
        """Fetch the file, compare its checksum; a version that failed once is never tried again."""
        target = action.get("targetVersion") or ""
        if target in (self.version, self.failed_update):
            return
        try:
            data = self.download(action.get("downloadUrl") or "")
            digest = hashlib.sha256(data).hexdigest()
            if digest != (action.get("checksum") or "").removeprefix("sha256:"):
                raise RefusedError(200, f"checksum mismatch: got {digest}")
        except RefusedError as error:
            self.failed_update, self.update_error = target, str(error)
            self._failed("update", error)
        else:
            self.counts["updated"] += 1
            self._exec(target)

    def _exec(self, version: str) -> None:
        """The new file takes the process over: what ran ends with it, and it begins with the token that it has."""
        self.version = version
        self.failed_update = ""
        self.pipelines.clear()
        self.close_channel()
        self._poll()
        self._heartbeat()

    def download(self, url: str) -> bytes:
        """A plain GET."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                verify = str(self.trusted) if self.trusted else True
                response = session.get(url, timeout=HTTP_SECONDS, verify=verify)
        except requests.RequestException as error:
            raise RefusedError(0, str(error)) from None
        if response.status_code != 200:
            raise RefusedError(response.status_code, response.text)
        return response.content

    def _failed(self, what: str, error: Exception) -> None:
        self.counts[f"failed {what}"] += 1
        self.problems.append(f"{what}: {error}")
        del self.problems[:-200]
