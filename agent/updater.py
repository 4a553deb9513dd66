"""Fetches, checks and lays down a new agent; reads and writes what is kept of updates. Decides nothing."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from agent import __version__, build, installation, vector
from agent.events import Event, TrialBegun, TrialEnded, UpdateRefused, UpdateStaged
from agent.installation import Record, entry
from agent.launcher import Launcher, Tail
from agent.protocol import DeploymentMode
from agent.session import CONNECT_SECONDS, USER_AGENT, Attempt, open_session, root_cause
from agent.settings import Settings
from agent.starter import command
from agent.update import Standing, Trial, UpdateTiming, Verdict, Wanted, parse_keys, refuse_url

log = logging.getLogger("agent.updater")

MOST_BYTES = 32 * 1024 * 1024
DOWNLOAD_SECONDS = 600.0
"""For the whole file, however it trickles."""
READ_SECONDS = 30.0
CHECK_SECONDS = 60.0
REDIRECTS = 5
ERROR_CHARACTERS = 1000


class UpdateError(Exception):
    """The new agent cannot be had or must not be tried; the message is one sentence."""


class Updater:
    """The folder ``update/``, and where its files come from."""

    def __init__(self, settings: Settings, launcher: Launcher, mode: DeploymentMode) -> None:
        self._settings = settings
        self._launcher = launcher
        self._mode = mode
        self._data_dir = settings.data_dir
        self._folder = installation.folder(settings.data_dir)

    def standing(self) -> Standing:
        """What this life begins with. Clears away what no life needs any more."""
        state = installation.read(self._folder)
        keys = self._trusted_keys(state)
        trial = entry(state, "trial")
        # Only the file that is on trial is judged by its life.
        is_trial = trial is not None and _running_file() == self._folder / trial["file"]
        retry = entry(state, "retry")
        last = state.get("last")
        last = last if isinstance(last, dict) else {}
        self._remove_leftovers(state)
        return Standing(
            version=__version__,
            refusal=self._refusal(),
            keys=keys,
            allow_http=self._settings.allow_http_update,
            failed={
                (str(failure.get("version")), str(failure.get("digest"))): str(failure.get("reason"))
                for failure in state.get("failed") or []
                if isinstance(failure, dict)
            },
            trial=_trial(trial) if trial is not None and is_trial else None,
            retry=_trial(retry) if retry is not None else None,
            last_action_id=last.get("actionId"),
            last_error=last.get("error"),
        )

    def stage(self, wanted: Wanted) -> Event:
        """Have the new file lie there whole, checked and able to start. Waits; UpdateRefused with the reason."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._lay_down(wanted)
            self._check(wanted)
        except UpdateError as error:
            return UpdateRefused(wanted.action_id, f"cannot update: {error}")
        except OSError as error:
            return UpdateRefused(
                wanted.action_id, f"cannot update: cannot write {self._folder}: {error.strerror}"
            )
        return UpdateStaged(wanted.action_id)

    def begin(self, trial: Trial) -> Event:
        """The next life is the new file's."""
        timing = trial.timing
        record = {
            "file": _file_name(trial.digest),
            "version": trial.version,
            "digest": trial.digest,
            "actionId": trial.action_id,
            "seconds": timing.patience + timing.margin,
            "patience": timing.patience,
            "longest": timing.longest,
            "retry": timing.retry,
            "margin": timing.margin,
            "hadLink": trial.had_link,
            "running": list(trial.running),
            "postponed": trial.postponed,
        }
        error = self._change(lambda state: installation.begin(state, record))
        return UpdateRefused(trial.action_id, f"cannot update: {error}") if error else TrialBegun()

    def extend(self, seconds: float) -> None:
        """Have the starter wait longer, if that can be written."""
        error = self._change(lambda state: state["trial"].update(seconds=seconds))
        if error:
            log.error("update not extended error=%r", error)

    def end(self, verdict: Verdict) -> Event:
        """Write down how this life on trial has turned out."""

        def judge(state: Record) -> None:
            if verdict.reason is None:
                installation.accept(state)
            elif verdict.server_is_away:
                installation.postpone(state)
            else:
                installation.fail(state, verdict.reason)

        return TrialEnded(verdict, self._change(judge))

    def _change(self, change: Callable[[Record], None]) -> str | None:
        state = installation.read(self._folder)
        state.setdefault("base", build.BUILD_ID)
        try:
            change(state)
            installation.write(self._folder, state)
        except OSError as error:
            return f"cannot write {self._folder}: {error.strerror}"
        except KeyError as error:
            return f"{self._folder / 'state.json'} has changed under this agent: it lacks {error}"
        return None

    def _refusal(self) -> str | None:
        if self._mode != DeploymentMode.STANDALONE:
            return "this agent runs in a container; start the container from a newer image"
        if _running_file() is None or installation.started_by() is None:
            return "this agent does not run from signalbox-agent.pyz but from its sources; update those"
        return None

    def _trusted_keys(self, state: Record) -> tuple[bytes, ...]:
        """By setting, else the running file's own, else the last that was ever trusted here, which is kept."""
        remembered = state.get("key")
        text = self._settings.update_key or build.UPDATE_KEY
        if text is None:
            text = remembered if isinstance(remembered, str) else ""
        elif text != remembered and self._change(lambda state: state.update(key=text)):
            log.warning("update key not kept; it is trusted for as long as it is set")
        try:
            return parse_keys(text)
        except ValueError as error:
            # Trusting nobody, not everybody: the remembered one is damaged. No signature is that of such a key.
            log.error("update key not understood error=%r; no update will be taken", str(error))
            return (bytes(32),)

    def _lay_down(self, wanted: Wanted) -> None:
        file = self._folder / _file_name(wanted.digest)
        if _digest_of(file) == wanted.digest:
            return
        temporary = self._folder / f".agent.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                digest = self._download(wanted.url, out.write)
                if digest != wanted.digest:
                    raise UpdateError(
                        f"what {wanted.url} answered has the checksum sha256:{digest}, not sha256:{wanted.digest}"
                    )
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, file)
            installation.sync_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)

    def _download(self, url: str, write: Callable[[bytes], object]) -> str:
        """Write what is there, bounded in size and time; its SHA-256."""
        attempt = Attempt()
        timer = threading.Timer(DOWNLOAD_SECONDS, attempt.cut)
        timer.daemon = True
        timer.start()
        try:
            for _ in range(REDIRECTS + 1):
                if (refusal := refuse_url(url, allow_http=self._settings.allow_http_update)) is not None:
                    raise UpdateError(refusal)
                # Without the node's token: the file may lie on anybody's server.
                with open_session(attempt, None) as session:
                    answer = session.get(
                        url,
                        headers={
                            "User-Agent": USER_AGENT,
                            "Accept-Encoding": "identity",
                            "Connection": "close",
                        },
                        timeout=(CONNECT_SECONDS, READ_SECONDS),
                        allow_redirects=False,
                        stream=True,
                    )
                    if answer.status_code == 200:
                        return _copy(answer, attempt, write)
                    location = answer.headers.get("Location")
                    if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                        raise UpdateError(f"cannot fetch {url}: it was answered with {answer.status_code}")
                url = urljoin(url, location)
        except (requests.RequestException, ValueError) as error:
            reason = f"it took more than {DOWNLOAD_SECONDS:g} s" if attempt.is_cut else root_cause(error)
            raise UpdateError(f"cannot fetch {url}: {reason}") from error
        finally:
            timer.cancel()
        raise UpdateError(f"cannot fetch {url}: there were more than {REDIRECTS} redirects")

    def _check(self, wanted: Wanted) -> None:
        """Have the new file start beside what runs, import all of itself and read the data folder."""
        tail = Tail()
        codes: queue.SimpleQueue[int | OSError] = queue.SimpleQueue()
        environment = vector.plain_environment(os.environ) | {"SIGNALBOX_DATA_DIR": str(self._data_dir)}

        def start() -> None:
            try:
                line = [*command(self._folder / _file_name(wanted.digest)), "--check"]
                self._launcher.spawn(line, environment, tail, codes.put, CHECK_SECONDS)
            except OSError as error:
                codes.put(error)

        self._launcher.submit(start)
        code = codes.get(timeout=2 * CHECK_SECONDS)
        said = tail.text()[-ERROR_CHARACTERS:]
        if code != 0:
            raise UpdateError(f"{wanted.version} does not start on this node ({code}): {said}")
        if said.splitlines()[-1:] != [f"signalbox-agent {wanted.version}"]:
            raise UpdateError(f"the file says that it is {said!r}, not {wanted.version}")

    def _remove_leftovers(self, state: Record) -> None:
        needed = {
            found["file"]
            for name in ("current", "previous", "trial", "retry")
            if (found := entry(state, name)) is not None
        }
        for path in [*self._folder.glob(".*.tmp"), *self._folder.glob("agent-*.pyz")]:
            if path.name not in needed and path != _running_file():
                path.unlink(missing_ok=True)


def _copy(answer: requests.Response, attempt: Attempt, write: Callable[[bytes], object]) -> str:
    digest, length = hashlib.sha256(), 0
    for part in answer.iter_content(64 * 1024):
        length += len(part)
        if length > MOST_BYTES:
            raise UpdateError(f"what {answer.url} answers is larger than {MOST_BYTES} bytes")
        digest.update(part)
        write(part)
    if attempt.is_cut:
        # Where no length was announced the end of a connection looks like the end of the answer.
        raise requests.Timeout("cut off")
    return digest.hexdigest()


def _file_name(digest: str) -> str:
    return f"agent-{digest[:32]}.pyz"


def _running_file() -> Path | None:
    """The one file that this agent runs from; ``None`` where it runs from its sources."""
    file = Path(__file__).parent.parent
    return file if file.is_file() else None


def _digest_of(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _trial(record: dict[str, Any]) -> Trial:
    """What an agent of this or an earlier version has written; what it did not know of is as usual."""
    usual = UpdateTiming()

    def number(name: str, otherwise: float) -> float:
        value = record.get(name)
        return float(value) if isinstance(value, int | float) else otherwise

    running = record.get("running")
    return Trial(
        action_id=str(record.get("actionId")),
        version=record["version"],
        digest=record["digest"],
        had_link=record.get("hadLink") is True,
        running=tuple(map(str, running)) if isinstance(running, list) else (),
        timing=UpdateTiming(
            patience=number("patience", usual.patience),
            longest=number("longest", usual.longest),
            retry=number("retry", usual.retry),
            margin=number("margin", usual.margin),
        ),
        postponed=int(number("postponed", 0)),
    )
