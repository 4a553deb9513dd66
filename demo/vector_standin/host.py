"""The machine's own metrics, read from /proc."""

import os
import time
from collections.abc import Iterable

from .events import HOST, Metric


class HostReader:
    """Reads them under the names that Vector's `host_metrics` gives them."""

    COLLECTORS = ("cpu", "memory", "load", "filesystem", "network", "disk", "host")
    _CPU_MODES = ("user", "nice", "system", "idle", "io_wait", "irq", "softirq", "steal")
    _SECTOR_BYTES = 512

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._metrics: list[Metric] = []

    def read(self, collectors: Iterable[str]) -> list[Metric]:
        self._metrics = []
        for collector in collectors:
            getattr(self, f"_read_{collector}")()
        return self._metrics

    def _add(self, collector: str, name: str, kind: str, value: float, **tags: str) -> None:
        labels = tuple(sorted({"collector": collector, "host": HOST, **tags}.items()))
        self._metrics.append(Metric(self._namespace, name, kind, value, labels, time.time()))

    def _read_cpu(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        for line in _lines("/proc/stat"):
            name, *values = line.split()
            if name.startswith("cpu") and name != "cpu":
                for mode, value in zip(self._CPU_MODES, values, strict=False):
                    self._add(
                        "cpu", "cpu_seconds_total", "counter", int(value) / ticks, cpu=name[3:], mode=mode
                    )

    def _read_memory(self) -> None:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in _lines("/proc/meminfo")}
        total, free, available = (kib[name] * 1024 for name in ("MemTotal", "MemFree", "MemAvailable"))
        readings = {"total": total, "free": free, "available": available, "used": total - available}
        for name, value in readings.items():
            self._add("memory", f"memory_{name}_bytes", "gauge", value)

    def _read_load(self) -> None:
        for name, value in zip(("load1", "load5", "load15"), os.getloadavg(), strict=True):
            self._add("load", name, "gauge", value)

    def _read_filesystem(self) -> None:
        seen: set[str] = set()
        for line in _lines("/proc/self/mounts"):
            device, mountpoint, filesystem, *_ = line.split()
            # What lies on a block device, or is the root: not the kernel's own mounts.
            if (not device.startswith("/dev/") and mountpoint != "/") or device in seen:
                continue
            seen.add(device)
            try:
                figures = os.statvfs(mountpoint)
            except OSError:
                # A mount that has gone, or that we may not see, has no figures to give.
                continue
            total, free = figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize
            tags = {"device": device, "mountpoint": mountpoint, "filesystem": filesystem}
            self._add("filesystem", "filesystem_total_bytes", "gauge", total, **tags)
            self._add("filesystem", "filesystem_free_bytes", "gauge", free, **tags)
            self._add("filesystem", "filesystem_used_bytes", "gauge", total - free, **tags)

    def _read_network(self) -> None:
        for line in _lines("/proc/net/dev")[2:]:
            device, _, rest = line.partition(":")
            values = rest.split()
            for name, value in (("receive", values[0]), ("transmit", values[8])):
                self._add(
                    "network", f"network_{name}_bytes_total", "counter", int(value), device=device.strip()
                )

    def _read_disk(self) -> None:
        for line in _lines("/proc/diskstats"):
            values = line.split()
            for name, sectors in (("read", values[5]), ("written", values[9])):
                self._add(
                    "disk",
                    f"disk_{name}_bytes_total",
                    "counter",
                    int(sectors) * self._SECTOR_BYTES,
                    device=values[2],
                )

    def _read_host(self) -> None:
        uptime = float(_lines("/proc/uptime")[0].split()[0])
        self._add("host", "uptime", "gauge", uptime)
        self._add("host", "boot_time", "gauge", round(time.time() - uptime))


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()
