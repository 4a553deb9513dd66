"""The unit with which systemd runs the agent. Pure; ``deploy/signalbox-agent.service`` is it for the usual places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib")
"""Where systemd keeps the folders of services."""


@dataclass(frozen=True)
class Places:
    """What differs from one machine to the next."""

    command: Sequence[str] = ("/opt/signalbox-agent/.venv/bin/python", "-m", "agent")
    """How the agent is started."""
    working_dir: Path = Path("/opt/signalbox-agent")
    """Where that is done: the folder that holds ``agent/``, or the zipapp."""
    user: str = "signalbox-agent"
    data_dir: Path = STATE / "signalbox-agent"
    env_file: Path = Path("/etc/signalbox/agent.env")


def render(places: Places) -> str:
    """The unit's text."""
    return TEMPLATE.format(
        command=" ".join(map(_word, places.command)),
        working_dir=_path(places.working_dir),
        user=places.user,
        data_dir=_word(f"SIGNALBOX_DATA_DIR={places.data_dir}", is_command=False),
        writable=_writable(places.data_dir),
        env_file=_path(places.env_file),
    )


def _writable(data_dir: Path) -> str:
    if data_dir.is_relative_to(STATE) and data_dir != STATE:
        return f"StateDirectory={_path(data_dir.relative_to(STATE))}\nStateDirectoryMode=0700"
    return f"ReadWritePaths={_word(str(data_dir), is_command=False)}"


def _word(text: str, *, is_command: bool = True) -> str:
    """As one word of a line: systemd splits at spaces and fills in ``%`` and, in commands, ``$``."""
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    if is_command:
        text = text.replace("$", "$$")
    return f'"{text}"' if any(character in text for character in " \t'\";\\") else text


def _path(path: Path) -> str:
    """As the rest of a line, which is not split."""
    return str(path).replace("%", "%%")


TEMPLATE = """\
# The Signalbox agent as a service; `signalbox-agent install` writes this file for its own place on a machine.
# Its exposure by `systemd-analyze security` is 1.5 (OK); the reasons for what is left stand at the end of each part.
# Own changes belong into a drop-in, which outlives the next install: systemctl edit signalbox-agent
#
# Every Vector runs under these rules too. What a pipeline may need, for the drop-in:
#   log files of group adm, such as /var/log/syslog   SupplementaryGroups=adm
#   the journald source                               SupplementaryGroups=systemd-journal
#   any file whatever its owner                       CapabilityBoundingSet=CAP_DAC_READ_SEARCH
#                                                     AmbientCapabilities=CAP_DAC_READ_SEARCH
#   ports below 1024, such as syslog's 514            CapabilityBoundingSet=CAP_NET_BIND_SERVICE
#                                                     AmbientCapabilities=CAP_NET_BIND_SERVICE
#   files under /home, /root                          ProtectHome=read-only
#   a file sink outside the data folder               ReadWritePaths=/srv/archive
#   files or sockets of other services in /tmp        PrivateTmp=no
#   the docker_logs source                            SupplementaryGroups=docker (which is as good as root)
#   processes of other users in host_metrics          nothing: /proc is whole here, see below
[Unit]
Description=Signalbox agent
Wants=network-online.target
After=network-online.target

[Service]
User={user}
WorkingDirectory={working_dir}
Environment={data_dir}
# 0600 and root's: systemd reads it before it gives root away. SIGNALBOX_URL, SIGNALBOX_TOKEN, HTTPS_PROXY, ...
EnvironmentFile={env_file}
ExecStart={command}

# The agent stops its pipelines in order, in 30 s; what they started themselves ends with the control group.
KillMode=control-group
KillSignal=SIGTERM
TimeoutStopSec=45
Restart=always
RestartSec=5
# Exit code 2: a setting makes no sense. Starting again would not change that; correct it and start it by hand.
RestartPreventExitStatus=2
# A file and a connection of each pipeline's is a descriptor.
LimitNOFILE=65536

# Writing: its data folder and nothing else. Updates of the agent itself go there as well.
{writable}
UMask=0077
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
RemoveIPC=yes

# No rights beyond the user's, and no way to gain any: neither the agent nor Vector is ever set-uid.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
KeyringMode=private

# Nothing of the kernel's or the machine's to change. Reading stays: host_metrics wants /proc and /sys, so no
# ProcSubset=pid and no ProtectProc=.
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
# Neither Python nor Vector (its Lua is interpreted) makes code while it runs.
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

# The network is what a pipeline is for: no PrivateNetwork=, no IPAddressDeny=. Netlink tells the interfaces,
# unix sockets lead to the journal and to a local syslog.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK

# Not here, and why: PrivateUsers= would take the low ports away; RootDirectory= and DynamicUser= would part the
# agent from the groups and logs of the machine that it is to read.

[Install]
WantedBy=multi-user.target
"""
