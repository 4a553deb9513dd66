from pathlib import Path

from agent import host
from agent.protocol import DeploymentMode


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_this_machine_tells_every_number_of_the_wire() -> None:
    """All fifteen, none of them negative, and what is used is part of what is there."""
    metrics = host.host_metrics()

    assert set(metrics) == {
        "memoryTotalBytes",
        "memoryUsedBytes",
        "memoryFreeBytes",
        "cpuSecondsTotal",
        "cpuSecondsIdle",
        "loadAvg1",
        "loadAvg5",
        "loadAvg15",
        "fsTotalBytes",
        "fsUsedBytes",
        "fsFreeBytes",
        "diskReadBytes",
        "diskWrittenBytes",
        "netRxBytes",
        "netTxBytes",
    }
    assert min(metrics.values()) >= 0
    assert metrics["memoryUsedBytes"] + metrics["memoryFreeBytes"] == metrics["memoryTotalBytes"]
    assert metrics["cpuSecondsIdle"] <= metrics["cpuSecondsTotal"]
    assert metrics["fsUsedBytes"] <= metrics["fsTotalBytes"]


def test_disks_and_networks_are_counted_once(tmp_path: Path) -> None:
    """Partitions lie on disks, mapped devices on partitions; loopback is no network."""
    lines = [
        "8 0 sda 1 0 10 0 1 0 20 0 0 0 0",
        "8 1 sda1 1 0 10 0 1 0 20 0 0 0 0",
        "259 0 nvme0n1 1 0 100 0 1 0 200 0 0 0 0",
        "259 1 nvme0n1p1 1 0 100 0 1 0 200 0 0 0 0",
        "254 0 dm-0 1 0 10 0 1 0 20 0 0 0 0",
        "7 0 loop0 1 0 10 0 1 0 20 0 0 0 0",
    ]
    write(tmp_path, "proc/diskstats", "\n".join(lines))
    heads = "Inter-| Receive\n face |bytes\n"
    write(tmp_path, "proc/net/dev", heads + "lo: 5 0 0 0 0 0 0 0 6 0\neth0:7 0 0 0 0 0 0 0 8 0\n")

    metrics = host.host_metrics(tmp_path)

    assert (metrics["diskReadBytes"], metrics["diskWrittenBytes"]) == (110 * 512, 220 * 512)
    assert (metrics["netRxBytes"], metrics["netTxBytes"]) == (7, 8)


def test_what_the_kernel_hides_is_left_out(tmp_path: Path) -> None:
    """A container with half a /proc still reports the other half."""
    write(tmp_path, "proc/meminfo", "MemTotal: nonsense")
    write(tmp_path, "proc/loadavg", "0.5 0.25 0.1 1/1 1")

    metrics = host.host_metrics(tmp_path)

    assert metrics["loadAvg1"] == 0.5
    assert "memoryTotalBytes" not in metrics
    assert "cpuSecondsTotal" not in metrics


def test_a_container_is_told_from_a_machine(tmp_path: Path) -> None:
    """Docker and Podman leave a file, systemd and Kubernetes a variable, older kernels the control group."""
    assert host.deployment_mode({}, tmp_path) is DeploymentMode.STANDALONE
    assert host.deployment_mode({"container": "podman"}, tmp_path) is DeploymentMode.DOCKER
    assert host.deployment_mode({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) is DeploymentMode.DOCKER
    write(tmp_path, "proc/1/cgroup", "0::/init.scope\n")
    assert host.deployment_mode({}, tmp_path) is DeploymentMode.STANDALONE
    write(tmp_path, "proc/1/cgroup", "2:cpu:/kubepods/burstable/pod1\n")
    assert host.deployment_mode({}, tmp_path) is DeploymentMode.DOCKER
    write(tmp_path, "proc/1/cgroup", "")
    write(tmp_path, ".dockerenv", "")
    assert host.deployment_mode({}, tmp_path) is DeploymentMode.DOCKER


def test_labels_need_nobody_to_set_them() -> None:
    """os, arch, hostname."""
    labels = host.discovered_labels()

    assert labels["os"] == "linux"
    assert sorted(labels) == ["arch", "hostname", "os"]
