"""What one process costs: memory, processor time, descriptors, threads, as the kernel counts them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

KIB = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """One process at one moment; memory in KiB, processor time in seconds since it began."""

    rss: int
    pss: int
    """Resident memory of which shared pages count in parts, one for each process that shares them."""
    fds: int
    threads: int
    cpu: float


def figures(pid: int) -> Figures:
    """What `pid` costs now; psutil.NoSuchProcess if it is gone."""
    process = psutil.Process(pid)
    with process.oneshot():
        memory, times = process.memory_info(), process.cpu_times()
        return Figures(
            rss=memory.rss // KIB,
            pss=_pss(pid),
            fds=process.num_fds(),
            threads=process.num_threads(),
            cpu=times.user + times.system,
        )


def at_rest(pid: int, seconds: float = 4.0, every: float = 0.25) -> Figures:
    """The least of each figure within `seconds`: a heartbeat under way has a thread and sockets for a moment."""
    seen = [figures(pid)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(every)
        seen.append(figures(pid))
    return Figures(
        rss=min(each.rss for each in seen),
        pss=min(each.pss for each in seen),
        fds=min(each.fds for each in seen),
        threads=min(each.threads for each in seen),
        cpu=seen[-1].cpu,
    )


def open_files(pid: int) -> list[str]:
    """What the descriptors of `pid` are open on, sorted: to see which ones there are too many of."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:
            continue
    return sorted(found)


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup names no Pss")
