"""The agent's command line: ``run`` (what it does when nothing is said), ``install``, ``doctor``.

Whatever takes a while to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from agent import __version__
from agent.protocol import rfc3339
from agent.settings import Settings, SettingsError, read_settings
from agent.starter import start_again
from agent.store import Store, StoreError

if TYPE_CHECKING:
    from agent.transport import LinkTiming
    from agent.update import UpdateTiming

CANNOT_START = 1
"""What stands in the way may pass: another try, by whatever watches over the agent, may find it gone."""
MISTAKE = 2
"""A setting or the command line has to be changed first; argparse's number for that too."""
PACKAGES = {
    "requests": "requests",
    "urllib3": "requests",
    "certifi": "requests",
    "websocket": "websocket-client",
}
"""What the agent imports that Python lacks, with the name to install it by."""
WIDTH = 80
ENV_FILE = Path("/etc/signalbox/agent.env")

SUMMARY = "Keeps this node's Vector pipelines as the Signalbox server wants them."
EPILOG = """\
environment (of every command; beside the names, what else is read):
  SIGNALBOX_URL            where the server is, https://...; required (VF_URL)
  SIGNALBOX_TOKEN          enrollment token of an environment; needed until the
                           node has enrolled (VF_TOKEN)
  SIGNALBOX_DATA_DIR       folder for all that is kept; default
                           /var/lib/signalbox-agent (VF_DATA_DIR)
  SIGNALBOX_VECTOR_BIN     the Vector to run; default vector, looked for on
                           PATH (VF_VECTOR_BIN)
  SIGNALBOX_POLL_INTERVAL  seconds, or 500ms, 15s, 1m, until the server says
                           otherwise; default 15 (VF_POLL_INTERVAL)
  SIGNALBOX_LABELS         key=value,key=value; default none (VF_NODE_LABELS)
  SIGNALBOX_LOG_LEVEL      debug, info, warning or error; default info
                           (VF_LOG_LEVEL)
  SIGNALBOX_CA_FILE        PEM file of the authorities to trust instead of the
                           usual ones; default none (REQUESTS_CA_BUNDLE,
                           CURL_CA_BUNDLE, SSL_CERT_FILE)
  SIGNALBOX_UPDATE_KEY     Ed25519 public keys (base64, by comma), one of which
                           must have signed an update; default the built-in one
  SIGNALBOX_ALLOW_HTTP_UPDATE
                           1: updates may come over plain http; default no
  SIGNALBOX_DEPLOYMENT_MODE
                           STANDALONE or DOCKER; default what it looks like
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
                           http://[user:password@]host:port on the way to the
                           server; default none
  NO_PROXY                 whom to reach without it: names, addresses, networks;
                           default none

exit codes:
  0   told to end, or the command has done its work
  1   cannot start, or a check has failed; it may be better later
  2   a setting or the command line is wrong; it has to be changed first
  70  internal error; start it again

examples:
  What is wrong on this node?
    {program} doctor

  Run it in a terminal, to see what it does (Ctrl-C ends it):
    SIGNALBOX_URL=https://signalbox.example \\
      SIGNALBOX_TOKEN=sbx_enroll_... \\
      SIGNALBOX_DATA_DIR=/tmp/agent {program}

  Make it a service of this machine, and start it:
    {program} install --now \\
      --url https://signalbox.example --token-file token.txt
"""
DOCTOR = f"""\
Looks at the settings, the data folder, Vector, and the way to the server: name,
proxy, TLS, token, both forms of the push channel. Says of each what it found,
and what to do about it. Changes nothing, and never disturbs a running agent.

Where SIGNALBOX_URL is not set, the settings of the service are read from
{ENV_FILE}. Run it as root: it reads what the agent may read.
Exit code 1 if any check has failed.
"""
INSTALL = f"""\
Makes the agent a service of systemd: writes its unit, its settings and its data
folder, and says what to type next. Does the same when it is run again.

Whatever of the agent's settings is set in the environment where this runs goes
into the settings file, {ENV_FILE} (0600), over what it holds.
"""
INSTALL_EXAMPLES = """\
The enrollment token never stands on the command line, where everybody could
read it: it is taken from --token-file, else from SIGNALBOX_TOKEN, else asked
for on a terminal. A node that has enrolled before needs none.

examples:
  See what would be written:
    {program} install --dry-run --url https://signalbox.example

  The token from a pipe, and start the service:
    cat token.txt | {program} install --now \\
      --url https://signalbox.example --token-file -
"""


class _Formatter(logging.Formatter):
    """One line each, however many a message has: ``2026-01-31T12:00:00.000Z INFO agent message``."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return rfc3339(datetime.fromtimestamp(record.created, UTC))

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As wide as any terminal is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=WIDTH)


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: {message}; --help says what there is\n")


def main(link_timing: LinkTiming | None = None, update_timing: UpdateTiming | None = None) -> int:
    """Do what the command line says; the exit code. The timings are for tests that cannot wait for minutes."""
    arguments = make_parser(program()).parse_args(sys.argv[1:])
    try:
        if arguments.command == "doctor":
            from agent import doctor

            return doctor.main(arguments.env_file, ENV_FILE)
        if arguments.command == "install":
            from agent import install

            return install.main(arguments)
        return _run(link_timing, update_timing)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    except StoreError as error:
        print(error, file=sys.stderr)
        return CANNOT_START
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in PACKAGES:
            raise
        print(_missing(error.name), file=sys.stderr)
        return CANNOT_START


def _missing(module: str) -> str:
    needed = " ".join(dict.fromkeys(PACKAGES.values()))
    return (
        f"{sys.executable} has no package {PACKAGES[module.partition('.')[0]]}. Either install what the agent needs, "
        f"for instance in a virtual environment: pip install {needed}; or run the one file "
        "signalbox-agent.pyz, which brings it along: `make agent` beside the server builds it, and the server "
        "then offers it under /agent/signalbox-agent.pyz."
    )


def program() -> str:
    """What somebody types to start this program."""
    name = Path(sys.argv[0]).name
    return "python -m agent" if name in ("__main__.py", "-m") else name


def make_parser(program: str) -> argparse.ArgumentParser:
    """The whole command line."""

    def add(name: str, summary: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=description.format(program=program),
            epilog=epilog.format(program=program) if epilog is not None else None,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    parser = _Parser(
        prog=program,
        description=SUMMARY,
        epilog=EPILOG.format(program=program),
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"signalbox-agent {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    add(
        "run",
        "run in the foreground until SIGTERM or Ctrl-C (the default)",
        "Runs in the foreground until SIGTERM or Ctrl-C, which stop every pipeline first.",
    )
    doctor = add("doctor", "look for what is wrong on this node", DOCTOR)
    doctor.add_argument("--env-file", type=Path, metavar="FILE", help="read the settings from FILE")
    install = add("install", "make it a service of systemd", INSTALL, INSTALL_EXAMPLES)
    install.add_argument("--url", metavar="URL", help="the server's address, SIGNALBOX_URL")
    install.add_argument(
        "--token-file", metavar="FILE", help="holds the enrollment token; - reads it from a pipe"
    )
    install.add_argument(
        "--user", metavar="NAME", default="signalbox-agent", help="runs it; made if missing (signalbox-agent)"
    )
    install.add_argument(
        "--unit-dir",
        type=Path,
        metavar="DIR",
        default=Path("/etc/systemd/system"),
        help="for the unit (/etc/systemd/system)",
    )
    install.add_argument(
        "--env-file", type=Path, metavar="FILE", default=ENV_FILE, help=f"for the settings ({ENV_FILE})"
    )
    install.add_argument("--dry-run", action="store_true", help="print what would be written, write nothing")
    install.add_argument("--force", action="store_true", help="replace a unit that is another one")
    install.add_argument("--now", action="store_true", help="have systemctl start it, now and at every boot")
    return parser


def _run(link_timing: LinkTiming | None, update_timing: UpdateTiming | None) -> int:
    settings = read_settings(os.environ)
    _start_logging(settings)
    store = Store(settings.data_dir)
    store.open()
    # Only now, when it is sure that it will be needed: requests and websocket take a while to import.
    from agent import certificates

    certificates.unpack(store.data_dir)
    from agent.loop import Loop

    return start_again() if Loop(settings, store, link_timing, update_timing).run() else 0


def _start_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("agent").setLevel(settings.log_level)
