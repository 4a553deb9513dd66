"""``make demo``: everything on this machine, from nothing to three nodes that run a deployed pipeline.

What it keeps lies in ``instance/demo/`` and ``instance/demo.json``; ``RESET=1`` forgets it first. Progress goes to
standard error, the address and the login to standard output.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from demo.operator_api import OperatorError
from demo.places import FOLDER, INSTANCE, RECORD, ROOT, data_folder, made
from demo.progress import say, step, write
from demo.record import Record, RecordError
from demo.steps import Demo, DemoError, StoppedError
from demo.stop_signals import StopSignals


def main() -> int:
    """Run the demo; the exit code."""
    with StopSignals() as signals:
        try:
            with _locked():
                return _run(signals, _recall())
        except (DemoError, OperatorError, RecordError, OSError) as error:
            say(f"demo: {error}")
            return 1


def _run(signals: StopSignals, record: Record) -> int:
    demo = Demo(signals, record)
    try:
        demo.start()
        _print_login(record)
        return demo.keep_running()
    except StoppedError:
        return 130
    except (DemoError, OperatorError, OSError) as error:
        say(f"demo: {error}")
        return 1
    finally:
        demo.stop()


def _recall() -> Record:
    """What the last start left off with; a new record for the first start, or with RESET=1."""
    wants_reset = os.environ.get("RESET", "") not in ("", "0")
    record = None if wants_reset else Record.load(RECORD)
    if record is not None and record.folder != str(FOLDER):
        raise DemoError(f"this demo was made in {record.folder}; `make demo RESET=1` starts afresh here")
    if record is not None and record.isSetUp:
        return record
    if wants_reset:
        step("Forgetting the last time")
    elif record is not None:
        step("The first start did not get to its end: starting afresh")
    RECORD.unlink(missing_ok=True)
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    made(FOLDER)
    record = Record.new(FOLDER)
    record.save(RECORD)
    return record


@contextmanager
def _locked() -> Iterator[None]:
    """Refuse a second demo in this tree."""
    with (made(INSTANCE) / "demo.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"it runs already, here in {ROOT}; stop that one first") from None
        yield


def _print_login(record: Record) -> None:
    say("")
    write(
        f"Signalbox runs on {record.url}\n"
        f"    e-mail    {record.email}\n"
        f"    password  {record.password}\n"
        f"(kept in {RECORD.relative_to(ROOT)}; what the nodes keep: "
        f"{data_folder('*').relative_to(ROOT)}/visits.log; for scripts its apiToken)\n"
        "Ctrl-C stops everything; `make demo` goes on from here, `make demo RESET=1` starts afresh.",
        sys.stdout,
    )


if __name__ == "__main__":
    sys.exit(main())
