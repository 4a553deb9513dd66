"""What a point of metrics says: rates, shares and sizes, as people and scripts want them. Pure."""

from __future__ import annotations

from app.metrics_points import HOST, HOST_COUNTERS, HOST_LEVELS, PIPELINE_COUNTERS, Point


def host_figures(point: Point) -> dict[str, float | None]:
    """CPU as a share from 0 to 1, sizes in bytes, and bytes a second; ``None`` for what was not told."""
    seconds, totals = point[0], dict(zip(HOST_COUNTERS + HOST_LEVELS, point[1:], strict=True))
    cpu = totals["cpuSecondsTotal"]
    busy = max(0.0, cpu - totals["cpuSecondsIdle"])
    sizes = {name: totals[name] / seconds or None for name in HOST_LEVELS}
    rates = {
        f"{name}PerSecond": totals[name] / seconds
        for name in ("diskReadBytes", "diskWrittenBytes", "netRxBytes", "netTxBytes")
    }
    return {"cpuShare": min(1.0, busy / cpu) if cpu > 0 else None, **sizes, **rates}


def pipeline_figures(point: Point) -> dict[str, float]:
    """Events, bytes, errors and discarded events a second."""
    seconds = point[0]
    return {
        f"{name}PerSecond": total / seconds for name, total in zip(PIPELINE_COUNTERS, point[1:], strict=True)
    }


def figures(subject: str, point: Point) -> dict[str, float | None]:
    """Those of a host or of a pipeline."""
    return host_figures(point) if subject == HOST else {**pipeline_figures(point)}
