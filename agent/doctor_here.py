"""What ``doctor`` looks at on the node itself."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from agent.doctor import Check, CheckFailedError, DoubtfulError, Facts
from agent.settings import SettingsError, read_settings
from agent.store import Store
from agent.vector import free_ports, plain_environment, version_command

LEAST_VECTOR = (0, 50)
LEAST_FREE_BYTES = 200 * 1024 * 1024
PORTS = 16
"""Two for each pipeline."""
VECTOR_SECONDS = 4.0


def settings(facts: Facts) -> str:
    """They make sense."""
    try:
        facts.settings = read_settings(facts.environment)
    except SettingsError as error:
        text = str(error).removeprefix("cannot start: ")
        raise CheckFailedError(f"{text}; read from {facts.source}") from error
    return f"server {facts.settings.url}, read from {facts.source}"


def data_folder(facts: Facts) -> str:
    """It is there, ours alone, and can be written."""
    folder = facts.settings.data_dir
    try:
        status = folder.stat()
    except FileNotFoundError:
        return _folder_to_be_made(folder)
    except OSError as error:
        raise CheckFailedError(f"{folder}: {error.strerror}; look at it as root") from error
    probe = folder / f".doctor.{os.getpid()}.tmp"
    try:
        probe.write_bytes(b"doctor")
        probe.unlink()
    except OSError as error:
        raise CheckFailedError(
            f"{folder} cannot be written ({error.strerror}); the user of the agent has to own it: chown -R"
        ) from error
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DoubtfulError(f"{folder} is open to others, and holds secrets; chmod 700 {folder}")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise DoubtfulError(
            f"{folder} has only {free // 2**20} MiB left; buffers of pipelines are kept there"
        )
    return f"{folder}, of user {status.st_uid}, {free // 2**20} MiB free"


def agent(facts: Facts) -> str:
    """Whether one runs on the data folder, told by its lock, and when it last heard the server."""
    heard = Store(facts.settings.data_dir).last_contact()
    last = f"; the server was last heard at {heard}" if heard is not None else ""
    try:
        descriptor = os.open(facts.settings.data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return "none has run on this data folder yet"
    except OSError as error:
        raise CheckFailedError(f"cannot tell ({error.strerror}); run doctor as root") from error
    try:
        # Shared, and given back at once: an agent that starts just now is not kept from it for long.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        facts.has_agent = True
        return f"one is running on this data folder{last}"
    finally:
        os.close(descriptor)
    return f"none is running on this data folder{last}"


def vector(facts: Facts) -> str:
    """It can be run and is new enough."""
    binary = facts.settings.vector_bin
    try:
        done = subprocess.run(
            version_command(binary),
            env=plain_environment(facts.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VECTOR_SECONDS,
        )
    except OSError as error:
        raise CheckFailedError(
            f"cannot run {binary!r} ({error.strerror}); install Vector 0.50 or newer, or set SIGNALBOX_VECTOR_BIN"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CheckFailedError(
            f"{binary!r} says no version within {VECTOR_SECONDS:g} s; try it by hand"
        ) from error
    said = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0][:200]
    match = re.search(r"\b(\d+)\.(\d+)\.\d+", said)
    if done.returncode != 0 or match is None:
        raise CheckFailedError(
            f"{binary!r} is no Vector: it says {said!r} (exit code {done.returncode}); set SIGNALBOX_VECTOR_BIN"
        )
    if (int(match[1]), int(match[2])) < LEAST_VECTOR:
        raise CheckFailedError(f"{said} is too old; install 0.50 or newer, or set SIGNALBOX_VECTOR_BIN")
    return f"{said}, at {shutil.which(binary) or binary}"


def ports(_facts: Facts) -> str:
    """There are some for the API and the metrics of each Vector."""
    try:
        found = free_ports(PORTS)
    except OSError as error:
        raise CheckFailedError(
            f"no free ports on 127.0.0.1 ({error.strerror}); look at ss -lt and net.ipv4.ip_local_port_range"
        ) from error
    return f"free ones on 127.0.0.1, such as {found[0]}"


def _folder_to_be_made(folder: Path) -> str:
    above = folder.parent
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        raise CheckFailedError(
            f"{folder} is not there, and {above} cannot be written; make it for the agent's user"
        )
    return f"{folder} is not there yet; the agent makes it"


CHECKS = (
    Check("settings", settings),
    Check("data folder", data_folder, needs=("settings",)),
    Check("agent", agent, needs=("settings",)),
    Check("vector", vector, needs=("settings",)),
    Check("ports", ports),
)
