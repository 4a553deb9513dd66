"""Runs Vector: writes the files of a pipeline, starts its child, and turns what becomes of it into events."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent import vector
from agent.events import (
    ChildExited,
    ChildLaunched,
    ConfigurationRefused,
    ConfigurationValidated,
    Event,
    ValidationFailed,
)
from agent.launcher import Launcher, Process, Tail
from agent.plan import PipelineSpec
from agent.protocol import MAX_VERSION_CHARACTERS
from agent.store import Store, StoreError

log = logging.getLogger("agent.runner")

VALIDATE_SECONDS = 30.0
VERSION_SECONDS = 10.0
ERROR_CHARACTERS = 4000


@dataclass(slots=True)
class _Child:
    run: int
    process: Process


class Runner:
    """Everything that is done with Vector's command line. Its methods return at once."""

    def __init__(
        self, store: Store, launcher: Launcher, vector_bin: str, put: Callable[[Event], None]
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._vector_bin = vector_bin
        self._put = put
        self._children: dict[str, _Child] = {}
        """Touched in the launcher's thread only."""
        self._tails: dict[str, Tail] = {}
        self._lock = threading.Lock()
        """Guards ``_tails`` and ``_version``."""
        self._version: str | None = None
        self._numbers = itertools.count(1)

    def start_child(self, spec: PipelineSpec, run: int) -> None:
        """Write the files and start; becomes ChildLaunched, or ChildExited at once."""
        self._launcher.submit(lambda: self._start(spec, run))

    def validate(self, spec: PipelineSpec) -> None:
        """Ask Vector about a configuration; becomes one of the three verdicts."""
        self._launcher.submit(lambda: self._validate(spec))

    def terminate(self, pipeline_id: str, run: int) -> None:
        """SIGTERM to one child."""
        self._launcher.submit(lambda: self._signal(pipeline_id, run, is_patient=True))

    def kill(self, pipeline_id: str, run: int) -> None:
        """SIGKILL to one child and all that it has started."""
        self._launcher.submit(lambda: self._signal(pipeline_id, run, is_patient=False))

    def remove_files(self, pipeline_id: str) -> None:
        """Forget a pipeline that has stopped."""
        with self._lock:
            self._tails.pop(pipeline_id, None)
        self._launcher.submit(lambda: self._remove(pipeline_id))

    def remove_certificates(self, base_names: tuple[str, ...]) -> None:
        """Forget certificate files that no pipeline needs any more."""
        self._launcher.submit(lambda: self._remove_certificates(base_names))

    def recent_lines(self, pipeline_id: str) -> tuple[int, list[str]]:
        """How many lines its child has said, and the last of them."""
        with self._lock:
            tail = self._tails.get(pipeline_id)
        return tail.lines() if tail is not None else (0, [])

    def version(self) -> str | None:
        """The first line of ``vector --version``; ``None`` until that is known."""
        with self._lock:
            return self._version

    def ask_version(self) -> None:
        """Find out what Vector this is."""
        self._launcher.submit(self._ask_version)

    def _start(self, spec: PipelineSpec, run: int) -> None:
        redactor = vector.Redactor(spec)
        with self._lock:
            tail = Tail(redactor.redact, self._tails.get(spec.pipeline_id))
            self._tails[spec.pipeline_id] = tail
        try:
            self._store.write_cert_files(spec)
            config = self._store.write_pipeline_file(spec.pipeline_id, "pipeline.yaml", spec.config_yaml)
            overlay_file, ports = self._write_overlay(spec)
            process = self._launcher.spawn(
                vector.start_command(self._vector_bin, config, overlay_file),
                vector.child_environment(spec, self._store.data_dir, os.environ),
                tail,
                lambda code: self._exited(spec.pipeline_id, run, code, tail, ports),
            )
        except (OSError, StoreError, ValueError) as error:
            # ValueError: half a surrogate in a text, which no file and no environment can hold.
            text = f"cannot start Vector ({self._vector_bin}): {error}"
            self._put(ChildExited(spec.pipeline_id, run, None, text))
            return
        self._children[spec.pipeline_id] = _Child(run, process)
        api_port, metrics_port = ports
        self._put(ChildLaunched(spec.pipeline_id, run, process.pid, api_port, metrics_port))

    def _write_overlay(self, spec: PipelineSpec) -> tuple[Path, tuple[int, ...]]:
        """What we lay over the pipeline's file: where it is, and which ports it names."""
        data, ports = self._store.pipeline_dir(spec.pipeline_id) / "data", vector.free_ports(2)
        try:
            text = vector.overlay(spec, data, *ports)
            return self._store.write_pipeline_file(spec.pipeline_id, "agent.yaml", text), ports
        except OSError:
            # A full disk: the file of the last start does as well, where it would be the same but for its ports.
            file = data.with_name("agent.yaml")
            text = file.read_text()
            former = vector.ports_in(text)
            if former is None or text != vector.overlay(spec, data, *former):
                raise
            return file, former

    def _exited(self, pipeline_id: str, run: int, code: int, tail: Tail, ports: tuple[int, ...]) -> None:
        del self._children[pipeline_id]
        port_taken = any(vector.is_port_taken(port) for port in ports)
        self._put(ChildExited(pipeline_id, run, code, tail.text()[-ERROR_CHARACTERS:], port_taken))

    def _signal(self, pipeline_id: str, run: int, *, is_patient: bool) -> None:
        child = self._children.get(pipeline_id)
        if child is None or child.run != run:
            return
        if is_patient:
            child.process.send_signal(signal.SIGTERM)
            # One that somebody has frozen takes it only once it runs again.
            child.process.send_signal(signal.SIGCONT)
        else:
            child.process.kill_group()

    def _validate(self, spec: PipelineSpec) -> None:
        redactor = vector.Redactor(spec)
        tail = Tail(redactor.redact)
        # Beside the files that run, never over them; Vector tells the format by the file's ending.
        folder = self._store.pipeline_dir(spec.pipeline_id) / f"validating-{next(self._numbers)}"
        try:
            (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
            config, overlay_file = folder / "pipeline.yaml", folder / "agent.yaml"
            config.write_text(spec.config_yaml)
            overlay_file.write_text(vector.overlay(spec, folder / "data", *vector.free_ports(2)))
            self._launcher.spawn(
                vector.validate_command(self._vector_bin, config, overlay_file),
                vector.child_environment(spec, self._store.data_dir, os.environ),
                tail,
                lambda code: self._validated(spec, code, tail, folder),
                VALIDATE_SECONDS,
            )
        except (OSError, ValueError) as error:
            hint = (
                "; SIGNALBOX_VECTOR_BIN says which one to run" if isinstance(error, FileNotFoundError) else ""
            )
            text = f"cannot ask Vector ({self._vector_bin}) about the configuration: {error}{hint}"
            self._put(ValidationFailed(spec.pipeline_id, spec.checksum, text))

    def _validated(self, spec: PipelineSpec, code: int, tail: Tail, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        lines = (line for line in tail.text(60).splitlines() if line.strip("-"))
        # Where the file lay for a moment is of no interest to whoever reads what is wrong with it.
        text = "\n".join(lines).replace(f"{folder}{os.sep}", "")[-ERROR_CHARACTERS:]
        if code == 0:
            self._put(ConfigurationValidated(spec.pipeline_id, spec.checksum))
        elif code < 0:
            how = f"cannot tell whether Vector takes the configuration: ended by signal {-code}\n{text}"
            self._put(ValidationFailed(spec.pipeline_id, spec.checksum, how.rstrip()))
        else:
            self._put(ConfigurationRefused(spec.pipeline_id, spec.checksum, text or f"exit code {code}"))

    def _remove(self, pipeline_id: str) -> None:
        if pipeline_id in self._children:
            # It was wanted again meanwhile.
            return
        try:
            self._store.remove_pipeline(pipeline_id)
        except OSError as error:
            log.warning("cannot remove the files of pipeline=%s: %s", pipeline_id, error)

    def _remove_certificates(self, base_names: tuple[str, ...]) -> None:
        try:
            self._store.remove_certificates(base_names)
        except OSError as error:
            log.warning("cannot remove certificates that nothing needs: %s", error)

    def _ask_version(self) -> None:
        tail = Tail()

        def note(code: int) -> None:
            lines = tail.lines()[1]
            if code == 0 and lines:
                with self._lock:
                    self._version = lines[0][:MAX_VERSION_CHARACTERS]
                log.info("vector version=%r", self._version)
            else:
                log.warning("cannot tell the version of %s: exit code %d", self._vector_bin, code)

        try:
            self._launcher.spawn(
                vector.version_command(self._vector_bin),
                vector.plain_environment(os.environ),
                tail,
                note,
                VERSION_SECONDS,
            )
        except OSError as error:
            log.warning("cannot run Vector (%s): %s", self._vector_bin, error)
