"""What the node says about itself: its load, its labels, what kind of place it is. Read from /proc."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from agent.protocol import MAX_HOSTNAME_CHARACTERS, DeploymentMode

CONTAINER_GROUP = re.compile(r"/(?:docker|kubepods|containerd|libpod|lxc)\b")
"""In the control group of process 1; only the older hierarchy tells."""
SECTOR_BYTES = 512
"""The unit of /proc/diskstats, whatever the disk."""


def host_metrics(root: Path = Path("/")) -> dict[str, float | int]:
    """``hostMetrics`` of a heartbeat; what this kernel does not tell is left out.

    Memory, file system, disk and network in bytes, processor time in seconds since boot.
    """
    proc = root / "proc"
    metrics: dict[str, float | int] = {}
    for read in (_memory, _processor, _load, _disks, _network):
        try:
            metrics |= read(proc)
        except (OSError, ValueError, IndexError, KeyError):
            # Some containers hide parts of /proc; the rest is still worth telling.
            continue
    try:
        disk = os.statvfs(root)
    except OSError:
        return metrics
    total, free = disk.f_frsize * disk.f_blocks, disk.f_frsize * disk.f_bavail
    return metrics | {
        "fsTotalBytes": total,
        "fsUsedBytes": total - disk.f_frsize * disk.f_bfree,
        "fsFreeBytes": free,
    }


def hostname() -> str:
    """What this machine calls itself."""
    return socket.gethostname()[:MAX_HOSTNAME_CHARACTERS] or "localhost"


def operating_system() -> str:
    """Kernel and distribution, such as ``linux/amd64 (Debian GNU/Linux 12 (bookworm))``."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{platform.system().lower()}/{architecture()}" + (f" ({name})" if name else "")


def architecture() -> str:
    """The processor, by the names that package registries use."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def discovered_labels() -> dict[str, str]:
    """Labels that need nobody to set them."""
    return {"os": platform.system().lower(), "arch": architecture(), "hostname": hostname()}


def deployment_mode(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> DeploymentMode:
    """Whether this is a container, whose files are gone with it."""
    marks = (root / ".dockerenv", root / "run/.containerenv")
    if any(mark.exists() for mark in marks) or environment.keys() & {"container", "KUBERNETES_SERVICE_HOST"}:
        return DeploymentMode.DOCKER
    try:
        groups = (root / "proc/1/cgroup").read_text()
    except (OSError, ValueError):
        groups = ""
    return DeploymentMode.DOCKER if CONTAINER_GROUP.search(groups) else DeploymentMode.STANDALONE


def _memory(proc: Path) -> dict[str, float | int]:
    fields = {}
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    total, available = fields["MemTotal"], fields.get("MemAvailable", fields["MemFree"])
    return {"memoryTotalBytes": total, "memoryUsedBytes": total - available, "memoryFreeBytes": available}


def _processor(proc: Path) -> dict[str, float | int]:
    with (proc / "stat").open() as file:
        ticks = [int(text) for text in file.readline().split()[1:9]]
    per_second = os.sysconf("SC_CLK_TCK")
    # Idle and waiting for disks; time of guests is already in user time.
    return {"cpuSecondsTotal": sum(ticks) / per_second, "cpuSecondsIdle": (ticks[3] + ticks[4]) / per_second}


def _load(proc: Path) -> dict[str, float | int]:
    one, five, fifteen = (float(text) for text in (proc / "loadavg").read_text().split()[:3])
    return {"loadAvg1": one, "loadAvg5": five, "loadAvg15": fifteen}


def _disks(proc: Path) -> dict[str, float | int]:
    read = written = 0
    for line in (proc / "diskstats").read_text().splitlines():
        fields = line.split()
        if _is_whole_disk(fields[2]):
            read += int(fields[5]) * SECTOR_BYTES
            written += int(fields[9]) * SECTOR_BYTES
    return {"diskReadBytes": read, "diskWrittenBytes": written}


def _is_whole_disk(name: str) -> bool:
    """Partitions, loops and what is stacked on disks would be counted twice."""
    if name.startswith(("loop", "ram", "dm-", "md", "zram", "sr", "fd")):
        return False
    if name.startswith(("nvme", "mmcblk")):
        return "p" not in name.removeprefix("mmcblk").removeprefix("nvme")
    return not name[-1].isdigit()


def _network(proc: Path) -> dict[str, float | int]:
    received = sent = 0
    for line in (proc / "net/dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo":
            received += int(fields[0])
            sent += int(fields[8])
    return {"netRxBytes": received, "netTxBytes": sent}
