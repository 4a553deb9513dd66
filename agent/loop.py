"""The one thread that owns the agent's state: takes what happened, asks what to do, has it done.

Whatever may wait is done in other threads, and what comes of it returns as an event on the same queue.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable
from random import Random

from agent import __version__, host
from agent.actions import (
    AbandonFetch,
    AbandonHeartbeat,
    Action,
    BeginTrial,
    CloseLink,
    EndTrial,
    Enroll,
    Exit,
    ExtendTrial,
    FetchConfig,
    KeepActions,
    KillChild,
    Log,
    OpenLink,
    PostSamples,
    ProbeChild,
    RefuseTap,
    RemoveCertificates,
    RemovePipelineFiles,
    SavePlan,
    SendHeartbeat,
    StageUpdate,
    StartChild,
    StartTap,
    StopTap,
    TakeSample,
    TerminateChild,
    ValidateConfiguration,
)
from agent.api import Api, ApiError
from agent.contact import Contact
from agent.events import (
    ActionsKept,
    Booted,
    ChildHealthy,
    ConfigFetched,
    ConfigUnchanged,
    EnrollFailed,
    Event,
    FetchFailed,
    HeartbeatFailed,
    HeartbeatSent,
    SamplesFailed,
    TapEnded,
    TerminationRequested,
    Ticked,
    UpdateRefused,
)
from agent.identity import Identity
from agent.launcher import Launcher
from agent.ledger import ActionRecord
from agent.link import Link
from agent.plan import AnswerRefusedError, Memory, parse_plan
from agent.poll import FETCH_DEADLINE_SECONDS
from agent.protocol import CONFIG_PATH, HEARTBEAT_PATH
from agent.proxies import proxy_for
from agent.report import HEARTBEAT_DEADLINE_SECONDS
from agent.runner import Runner
from agent.sampler import Sampler, is_healthy, sample_to_json
from agent.saver import Saver
from agent.settings import Settings
from agent.state import Agent
from agent.store import Store, StoreError
from agent.tap import Tapper
from agent.tap_stream import TapStreams
from agent.transport import LinkTiming
from agent.update import UpdateTiming
from agent.updater import Updater

log = logging.getLogger("agent")

PROBE_SECONDS = 0.2
"""Between two questions to a starting child whether it is well."""
PROBE_ATTEMPTS = 600
SAMPLES_DEADLINE_SECONDS = 30.0
TAP_EVENTS_DEADLINE_SECONDS = 10.0
LAST_SAVE_SECONDS = 5.0
UNAUTHORIZED_SECONDS = 60.0
"""Between heartbeats with a token that the server refuses."""
LONGEST_WAIT_SECONDS = 3600.0
MOST_ASIDE = 4
"""So many threads at most do the same thing."""
INTERNAL_ERROR = 70
"""Exit code when the launcher has failed; a supervisor starts the agent anew."""


class Loop:
    """The agent as a running program."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        link_timing: LinkTiming | None = None,
        update_timing: UpdateTiming | None = None,
    ) -> None:
        boot_id = uuid.uuid4().hex
        self._settings = settings
        self._store = store
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._agent = Agent(
            settings.poll_interval_seconds, Random(), link_timing=link_timing, update_timing=update_timing
        )
        self._launcher = Launcher()
        mode = settings.deployment_mode or host.deployment_mode()
        self._updater = Updater(settings, self._launcher, mode)
        self._runner = Runner(store, self._launcher, settings.vector_bin, self._queue.put)
        self._tapper = Tapper(self._launcher, settings.vector_bin, self._runner.version, self._queue.put)
        self._sampler = Sampler(self._runner, settings.labels, boot_id, mode)
        self._api = Api(settings.url)
        self._tap_streams = TapStreams(
            self._launcher, settings.vector_bin, self._runner.version, self._post_tap_events, self._queue.put
        )
        self._link = Link(boot_id, self._queue.put)
        self._identity = Identity(settings, store, self._api)
        self._contact = Contact(store)
        self._saver = Saver(store)
        self._probes: dict[str, int] = {}
        """The run of each pipeline that is being asked whether it is well."""
        self._end: Exit | None = None

    def run(self) -> bool:
        """Live until told to end; whether to begin anew.

        SettingsError or StoreError if there is nothing to begin with.
        """
        booted = self._remember()
        threading.Thread(target=self._launch, name="launcher", daemon=True).start()
        self._saver.start()
        # SimpleQueue.put may interrupt itself, which a signal handler does.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._queue.put(TerminationRequested()))
        log.info(
            "agent version=%s url=%s data=%s proxy=%s",
            __version__,
            self._settings.url,
            self._store.data_dir,
            proxy_for(self._settings.url, os.environ) or "none",
        )
        self._runner.ask_version()
        self._handle(booted)
        while self._end is None:
            self._handle(self._next_event())
        self._saver.close(LAST_SAVE_SECONDS)
        self._launcher.end()
        return self._end.is_restart

    def _next_event(self) -> Event:
        wait = min(max(0.0, self._agent.next_deadline() - time.monotonic()), LONGEST_WAIT_SECONDS)
        try:
            return self._queue.get(timeout=wait)
        except queue.Empty:
            return Ticked()

    def _handle(self, event: Event) -> None:
        match event:
            case ConfigFetched() | ConfigUnchanged():
                self._contact.answered()
            case HeartbeatSent():
                self._contact.heard()
            case FetchFailed() | EnrollFailed():
                self._contact.missed()
        for action in self._agent.handle(event, time.monotonic()):
            self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Log():
                log.log(action.level, "%s", action.line)
            case Enroll():
                self._aside("enroll", self._enroll, EnrollFailed("cannot enroll: see the log"))
            case FetchConfig():
                self._aside(
                    "fetch", lambda: self._fetch(action), FetchFailed(action.generation, "see the log")
                )
            case AbandonFetch():
                log.warning("fetch given up after %g s, nothing is changed", FETCH_DEADLINE_SECONDS)
                self._contact.missed()
                self._api.abandon(CONFIG_PATH, action.generation)
            case OpenLink():
                self._link.open(action, self._identity.token)
            case CloseLink():
                self._link.close(action.generation)
            case SendHeartbeat():
                self._aside(
                    "heartbeat",
                    lambda: self._send_heartbeat(action),
                    HeartbeatFailed(action.generation, "see the log"),
                )
            case AbandonHeartbeat():
                log.warning("heartbeat given up after %g s", HEARTBEAT_DEADLINE_SECONDS)
                self._api.abandon(HEARTBEAT_PATH, action.generation)
            case TakeSample():
                self._tapper.take(action)
            case PostSamples():
                self._aside("samples", lambda: self._post_samples(action), SamplesFailed(action.results))
            case StartTap():
                self._tap_streams.start(action)
            case StopTap():
                self._tap_streams.stop(action.request_id, action.reason)
            case RefuseTap():
                self._aside("refusal", lambda: self._tap_streams.refuse(action), TapEnded(action.request_id))
            case SavePlan():
                self._saver.save(action.memory)
            case ValidateConfiguration():
                if self._runner.version() is None:
                    # It could not be run when the agent started.
                    self._runner.ask_version()
                self._runner.validate(action.spec)
            case StartChild():
                self._runner.start_child(action.spec, action.run)
            case ProbeChild():
                self._probes[action.pipeline_id] = action.run
                self._aside("probe", lambda: self._probe(action), None)
            case TerminateChild():
                self._probes.pop(action.pipeline_id, None)
                self._runner.terminate(action.pipeline_id, action.run)
            case KillChild():
                log.warning("child pipeline=%s does not end, killing it", action.pipeline_id)
                self._runner.kill(action.pipeline_id, action.run)
            case RemovePipelineFiles():
                self._runner.remove_files(action.pipeline_id)
            case KeepActions():
                self._keep_actions(action)
            case StageUpdate():
                wanted = action.wanted
                self._aside(
                    "update",
                    lambda: self._updater.stage(wanted),
                    UpdateRefused(wanted.action_id, "cannot update: see the agent's log"),
                )
            case BeginTrial():
                self._queue.put(self._updater.begin(action.trial))
            case ExtendTrial():
                self._updater.extend(action.seconds)
            case EndTrial():
                self._queue.put(self._updater.end(action.verdict))
            case RemoveCertificates():
                self._runner.remove_certificates(action.base_names)
            case Exit():
                self._end = action

    def _remember(self) -> Booted:
        """What the data folder knows of an earlier life."""
        self._store.remove_leftovers()
        memory = Memory()
        try:
            memory = self._store.plan()
        except StoreError as error:
            log.warning("%s; waiting for the server", error)
        enrolled = self._identity.remember(runs_something=bool(memory.pipelines))
        actions: tuple[ActionRecord, ...] = ()
        try:
            actions = self._store.actions()
        except StoreError as error:
            log.warning("%s; an action that is still open may be done again", error)
        return Booted(enrolled, memory, actions, self._updater.standing())

    def _enroll(self) -> Event:
        return self._identity.enroll(dict(self._sampler.labels), self._runner.version())

    def _fetch(self, action: FetchConfig) -> Event:
        try:
            answer = self._api.fetch_config(
                self._identity.token, action.generation, action.revision, action.etag, FETCH_DEADLINE_SECONDS
            )
            if answer is None:
                return ConfigUnchanged(action.generation)
            return ConfigFetched(action.generation, parse_plan(answer.body), answer.etag)
        except ApiError as error:
            return FetchFailed(
                action.generation, str(error), error.is_unauthorized, error.retry_after, error.is_answer
            )
        except AnswerRefusedError as error:
            return FetchFailed(action.generation, str(error), answered=True)

    def _send_heartbeat(self, action: SendHeartbeat) -> Event:
        body, line_counts = self._sampler.heartbeat_body(action)
        try:
            self._api.send_heartbeat(
                self._identity.token, action.generation, body, HEARTBEAT_DEADLINE_SECONDS
            )
        except ApiError as error:
            patience = UNAUTHORIZED_SECONDS if error.is_unauthorized else error.retry_after
            return HeartbeatFailed(action.generation, str(error), patience, error.is_answer)
        self._sampler.arrived(line_counts)
        return HeartbeatSent(action.generation)

    def _post_samples(self, action: PostSamples) -> Event | None:
        results = [sample_to_json(result) for result in action.results]
        try:
            self._api.post_samples(self._identity.token, {"results": results}, SAMPLES_DEADLINE_SECONDS)
        except ApiError as error:
            log.warning("%s; the next heartbeat carries them", error)
            return SamplesFailed(action.results)
        return None

    def _post_tap_events(self, body: dict[str, object]) -> None:
        self._api.post_tap_events(self._identity.token, body, TAP_EVENTS_DEADLINE_SECONDS)

    def _probe(self, action: ProbeChild) -> Event | None:
        """Ask until the child is well, has been stopped or replaced, or has had its time."""
        for _ in range(PROBE_ATTEMPTS):
            if self._probes.get(action.pipeline_id) != action.run:
                return None
            if is_healthy(action.api_port):
                return ChildHealthy(action.pipeline_id, action.run)
            time.sleep(PROBE_SECONDS)
        return None

    def _keep_actions(self, action: KeepActions) -> None:
        error = None
        try:
            self._store.keep_actions(action.records)
        except StoreError as failure:
            log.error("%s", failure)
            error = str(failure)
        self._queue.put(ActionsKept(error))

    def _aside(self, name: str, work: Callable[[], Event | None], failure: Event | None) -> None:
        """Do ``work`` in a thread of its own, and put what it returns on the queue.

        ``failure`` is put there if it fails in a way that nobody thought of: what the agent waits for must
        come, and a mistake in one answer must not end the agent, and with it every child. So it is, too, where
        earlier ones hang where nothing can cut them off, as in a resolver without a server.
        """
        if failure is not None and sum(thread.name == name for thread in threading.enumerate()) >= MOST_ASIDE:
            log.warning("cannot %s: %d earlier ones hang", name, MOST_ASIDE)
            self._queue.put(failure)
            return

        def do() -> None:
            event = failure
            try:
                event = work()
            except Exception:
                log.exception("cannot %s", name)
            if event is not None:
                self._queue.put(event)

        threading.Thread(target=do, name=name, daemon=True).start()

    def _launch(self) -> None:
        """The launcher's life. Without it no child can be started, stopped or noticed to have died."""
        try:
            self._launcher.run()
        except Exception:
            log.exception("cannot go on: the launcher has failed")
            logging.shutdown()
            # The kernel ends the children; a supervisor starts the agent anew, and it them.
            os._exit(INTERNAL_ERROR)
