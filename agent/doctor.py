"""``doctor``: looks for what is wrong on a node, one check after the other, and says what to do about it.

Nothing is changed, and a running agent is not disturbed: its push channel is not opened a second time.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from agent import __version__, env_file
from agent.settings import Settings, SettingsError

DEADLINE_SECONDS = 5.0
"""Of each check."""


class Mark(Enum):
    """How a check went: a sign, and a word for terminals that cannot show it. Only ``FAIL`` fails the command."""

    OK = ("✔", "ok")
    WARN = ("!", "warn")
    FAIL = ("✘", "FAIL")
    SKIP = ("-", "skip")


class CheckFailedError(Exception):
    """Something is wrong; the message says what, and what to do."""


class DoubtfulError(Exception):
    """Something may be wrong; the message says what, and what to do."""


class NotApplicableError(Exception):
    """There is nothing to look at; the message says why."""


@dataclass
class Facts:
    """What the checks know, and what one leaves for those that need it."""

    environment: Mapping[str, str]
    source: str
    """Where the settings come from, for a person."""
    settings: Settings = field(init=False)
    node_token: str | None = None
    """The node's token, once it is known to be readable."""
    has_agent: bool = False
    """Whether an agent runs on the data folder."""
    answer: Mapping[str, object] = field(default_factory=dict)
    """The server's configuration answer."""
    skew_seconds: float | None = None
    """How far the server's clock is ahead of ours."""


@dataclass(frozen=True)
class Check:
    """One line of the table. ``look`` returns what is well, or raises one of the three errors above."""

    about: str
    look: Callable[[Facts], str]
    needs: tuple[str, ...] = ()
    """The checks without which this one can say nothing."""


@dataclass(frozen=True)
class Finding:
    """What came of a check."""

    mark: Mark
    about: str
    text: str


def main(given_file: Path | None, usual_file: Path) -> int:
    """Look, print, and say by the exit code whether all is well."""
    # Only now: they need requests, which takes a while to import.
    from agent import doctor_channel, doctor_here, doctor_way

    environment, source = find_settings(os.environ, given_file, usual_file)
    # Whatever connects reads its proxies and authorities there.
    os.environ.update(environment)
    print(f"signalbox-agent {__version__}, as user {os.geteuid()}")
    failed = 0
    checks = (*doctor_here.CHECKS, *doctor_way.CHECKS, *doctor_channel.CHECKS)
    for finding in examine(Facts(environment, source), checks):
        failed += finding.mark is Mark.FAIL
        print(line(finding, sys.stdout.encoding), flush=True)
    print(f"{failed} failed." if failed else "Nothing failed.")
    return 1 if failed else 0


def find_settings(
    environment: Mapping[str, str], given_file: Path | None, usual_file: Path
) -> tuple[dict[str, str], str]:
    """The environment with what a settings file adds, and where the settings come from.

    The usual file is read only where the server's address is not set, as in the shell of somebody who looks at
    a service; what is set counts more than what a file says. SettingsError if the given one cannot be read.
    """
    file = given_file
    if file is None and not (environment.get("SIGNALBOX_URL") or environment.get("VF_URL")):
        file = usual_file
    if file is None:
        return dict(environment), "the environment"
    try:
        return env_file.parse(file.read_text()) | dict(environment), str(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        if given_file is not None:
            raise SettingsError(f"cannot read the settings file {file}: {reason}") from error
        return dict(environment), f"the environment; {file} cannot be read ({reason})"


def examine(
    facts: Facts, checks: Iterable[Check], deadline_seconds: float = DEADLINE_SECONDS
) -> Iterator[Finding]:
    """Do one check after the other, each with its deadline, unless one that it needs has failed."""
    stood: set[str] = set()
    for check in checks:
        missing = [need for need in check.needs if need not in stood]
        if missing:
            yield Finding(Mark.SKIP, check.about, f"needs {' and '.join(missing)}")
            continue
        mark, text = _within(deadline_seconds, check, facts)
        if mark is not Mark.FAIL:
            stood.add(check.about)
        yield Finding(mark, check.about, text)


def line(finding: Finding, encoding: str) -> str:
    """A finding as a line, without the signs where ``encoding`` has none."""
    sign, word = finding.mark.value
    try:
        sign.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        sign = "*"
    text = finding.text.encode(encoding, "replace").decode(encoding) if sign == "*" else finding.text
    return f"{sign} {word:<4}  {finding.about:<13} {text}"


def _within(seconds: float, check: Check, facts: Facts) -> tuple[Mark, str]:
    """What comes of a check; a check that never ends is left behind in its thread."""
    answers: queue.SimpleQueue[tuple[Mark, str]] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put((Mark.OK, check.look(facts)))
        except CheckFailedError as error:
            answers.put((Mark.FAIL, str(error)))
        except DoubtfulError as error:
            answers.put((Mark.WARN, str(error)))
        except NotApplicableError as error:
            answers.put((Mark.SKIP, str(error)))
        except Exception as error:
            # The others go on: at night half of an answer is better than a traceback.
            answers.put((Mark.FAIL, f"could not be looked at: {type(error).__name__}: {error}"[:300]))

    threading.Thread(target=look, name=check.about, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return Mark.FAIL, f"no answer within {seconds:g} s"
