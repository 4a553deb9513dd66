"""``install``: makes the agent a service of systemd. Everything is looked at before anything is written."""

from __future__ import annotations

import argparse
import getpass
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import agent
from agent import authorities, env_file, unit
from agent.settings import SettingsError, read_settings
from agent.store import write_atomically

UNIT = "signalbox-agent.service"
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
"""What the unit's ProtectHome= and PrivateTmp= hide from the service."""
KEPT = (
    "SIGNALBOX_URL",
    "SIGNALBOX_TOKEN",
    "SIGNALBOX_DATA_DIR",
    "SIGNALBOX_VECTOR_BIN",
    "SIGNALBOX_POLL_INTERVAL",
    "SIGNALBOX_LABELS",
    "SIGNALBOX_LOG_LEVEL",
    *authorities.VARIABLES,
    *(
        name
        for upper in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (upper, upper.lower())
    ),
)
"""What goes from the environment into the settings file."""
MOST_TOKEN_BYTES = 4096
COMMAND_SECONDS = 60.0


class InstallError(Exception):
    """It could not be done; the message says what to do."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written."""

    unit_file: Path
    unit_text: str
    env_file: Path
    env_text: str
    data_dir: Path
    user: str
    used: tuple[Path, ...]
    """What the service has to be able to see."""


def main(arguments: argparse.Namespace) -> int:
    """Do it, and say what was done; SettingsError for what the caller has to change, 1 if it could not be done."""
    try:
        wanted = prepare(arguments, os.environ)
        if arguments.dry_run:
            _show(wanted)
            return 0
        for sentence in write(wanted):
            print(sentence)
        return _start() if arguments.now else _say_what_is_next()
    except InstallError as error:
        print(f"cannot install: {error}", file=sys.stderr)
    except OSError as error:
        print(f"cannot install: {error.strerror}: {error.filename}", file=sys.stderr)
    return 1


def how_started() -> tuple[list[str], Path]:
    """The command that starts this very agent, and the folder in which to do that."""
    place = Path(agent.__file__).resolve().parent.parent
    if place.is_file():
        # A zipapp.
        return [sys.executable, str(place)], place.parent
    return [sys.executable, "-m", "agent"], place


def prepare(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Wanted:
    """What to write; SettingsError where the command line, the settings or the machine do not allow it."""
    unit_file = arguments.unit_dir.absolute() / UNIT
    is_own_user = arguments.user == pwd.getpwuid(os.geteuid()).pw_name
    if (
        os.geteuid() != 0
        and not arguments.dry_run
        and not (is_own_user and os.access(unit_file.parent, os.W_OK))
    ):
        raise SettingsError(
            "cannot install: it takes root to do this; try sudo, or look with --dry-run first"
        )
    old_env = _read(arguments.env_file, "the settings file") or ""
    given = {name: environment[name] for name in KEPT if environment.get(name, "").strip()}
    if arguments.url is not None:
        given["SIGNALBOX_URL"] = arguments.url
    before = env_file.parse(old_env)
    token = _token(arguments.token_file, given, before)
    if token is not None:
        given["SIGNALBOX_TOKEN"] = token
    try:
        settings = read_settings(before | given)
    except SettingsError as error:
        raise SettingsError(str(error).replace("cannot start:", "cannot install:", 1)) from error
    if settings.token is None and not arguments.dry_run and not (settings.data_dir / "node-token").exists():
        if not sys.stdin.isatty():
            raise SettingsError(
                "cannot install: no enrollment token; put it into a file for --token-file or into SIGNALBOX_TOKEN"
            )
        given["SIGNALBOX_TOKEN"] = _clean_token(getpass.getpass("Enrollment token: "))
    try:
        env_text = env_file.with_values(old_env, given)
    except ValueError as error:
        raise SettingsError(f"cannot install: {error}") from error
    command, folder = how_started()
    places = unit.Places(command, folder, arguments.user, settings.data_dir, arguments.env_file.absolute())
    unit_text = unit.render(places)
    old_unit = _read(unit_file, "the unit")
    if old_unit not in (None, unit_text) and not arguments.force and not arguments.dry_run:
        raise SettingsError(
            f"cannot install: {unit_file} is another unit than would be written (see --dry-run); move own changes "
            "into a drop-in (systemctl edit signalbox-agent) and replace it with --force"
        )
    files = [sys.executable, settings.ca_file or "", settings.vector_bin]
    return Wanted(
        unit_file=unit_file,
        unit_text=unit_text,
        env_file=places.env_file,
        env_text=env_text,
        data_dir=settings.data_dir,
        user=arguments.user,
        used=(Path(agent.__file__).resolve(), *(Path(file) for file in files if os.path.isabs(file))),
    )


def write(wanted: Wanted) -> list[str]:
    """Write what is not so already; a sentence for each thing. OSError or InstallError if that fails."""
    said = []
    try:
        owner = pwd.getpwnam(wanted.user)
    except KeyError:
        owner = _make_user(wanted.user)
        said.append(f"made the user {wanted.user}")
    said.append(_make_folder(wanted.data_dir, owner))
    wanted.env_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    said.append(_write(wanted.env_file, wanted.env_text, 0o600))
    wanted.unit_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    said.append(_write(wanted.unit_file, wanted.unit_text, 0o644))
    for place in wanted.used:
        if any(place.is_relative_to(hidden) for hidden in HIDDEN):
            said.append(
                f"but a service cannot see {place} where it lies: move it, to /opt say, and install again"
            )
    return said


def _token(file: str | None, given: Mapping[str, str], before: Mapping[str, str]) -> str | None:
    """The enrollment token, wherever it is; ``None`` where there is none to be changed."""
    if file is None:
        return given.get("SIGNALBOX_TOKEN") or before.get("SIGNALBOX_TOKEN")
    try:
        if file == "-":
            return _clean_token(sys.stdin.read(MOST_TOKEN_BYTES))
        with open(file, encoding="ascii") as opened:
            return _clean_token(opened.read(MOST_TOKEN_BYTES))
    except UnicodeDecodeError as error:
        raise SettingsError("cannot install: --token-file holds no token") from error
    except OSError as error:
        raise SettingsError(
            f"cannot install: --token-file {file} cannot be read: {error.strerror}"
        ) from error


def _clean_token(text: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("cannot install: that is no token; it is one word, such as sbx_enroll_...")
    return token


def _read(file: Path, what: str) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"cannot install: {what} {file} cannot be read: {reason}") from error


def _make_user(name: str) -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    _run([*command, "--shell", "/usr/sbin/nologin", name])
    try:
        return pwd.getpwnam(name)
    except KeyError as error:
        raise InstallError(
            f"useradd has made no user {name}; make it by hand, or name another one with --user"
        ) from error


def _make_folder(folder: Path, owner: pwd.struct_passwd) -> str:
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != owner.pw_uid:
        if not is_new and any(folder.iterdir()):
            raise InstallError(
                f"the data folder {folder} belongs to another user; stop its agent, then: "
                f"chown -R {owner.pw_name}: {shlex.quote(str(folder))}"
            )
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    folder.chmod(0o700)
    return f"{'made' if is_new else 'kept'} the data folder {folder} (0700, {owner.pw_name})"


def _write(file: Path, text: str, mode: int) -> str:
    if _read(file, "the file") == text and file.stat().st_mode & 0o777 == mode:
        return f"kept {file}, which is as it should be"
    write_atomically(file, text.encode(), is_lasting=True)
    file.chmod(mode)
    return f"wrote {file} ({mode:04o})"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{shlex.join(command)}: {error}") from error
    if done.returncode != 0:
        raise InstallError(f"{shlex.join(command)} failed: {(done.stderr or done.stdout).strip()[:500]}")


def _start() -> int:
    # Restarted, not only started: one that runs already takes up what was written.
    for command in ("daemon-reload", f"enable {UNIT}", f"restart {UNIT}"):
        _run(["systemctl", *command.split()])
        print(f"did systemctl {command}")
    return 0


def _say_what_is_next() -> int:
    print("next:")
    print("  systemctl daemon-reload")
    print(
        "  systemctl enable --now signalbox-agent   # systemctl restart signalbox-agent, if it runs already"
    )
    print("  journalctl -u signalbox-agent -f")
    return 0


def _show(wanted: Wanted) -> None:
    print(f"# {wanted.unit_file}")
    print(wanted.unit_text)
    print(f"# {wanted.env_file} (0600)")
    for name, value in env_file.parse(wanted.env_text).items():
        is_secret = name == "SIGNALBOX_TOKEN" or "@" in value
        print(f"{name}={'***' if is_secret else value}")
    print(f"\n# {wanted.data_dir}/ (0700, {wanted.user})")
