"""Vector as the agent sees it: its command line, the file that we add to each configuration, its environment.

The one module that knows what Vector wants. Supported from 0.50 on. What differs by version is where ``tap``
asks: the API became gRPC in 0.55. Its ``/health`` stayed as it was, and the switch for ``${...}`` that 0.57
needs arrives among the secrets of a pipeline.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from agent.plan import PipelineSpec
from agent.proxies import without_credentials

COMPONENT_PREFIX = "signalbox_agent_"
"""Of the components that we add; they are left out of every count."""
METRICS_INTERVAL_SECONDS = 2
GRACEFUL_SECONDS = 25
"""Vector gives up flushing before it would be killed; its own default of 60 s is longer than our patience."""
INHERITED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "HOSTNAME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "RUST_BACKTRACE",
        "NO_PROXY",
        "no_proxy",
    }
)
"""What a child gets of the agent's environment. A pipeline's author can read all of it: no token is here."""
PROXIES = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"},
)
"""What a child gets without the user and password in it."""
OWN_DATA_DIR = re.compile(r"""^\s*\{?\s*["']?data_dir["']?\s*:""", re.MULTILINE)
VERSION = re.compile(r"\b(\d+)\.(\d+)\.\d+")
GRPC_SINCE = (0, 55)
LOG_LEVEL = re.compile(r"[A-Za-z0-9_:=,.-]{1,200}")


def overlay(spec: PipelineSpec, data_dir: Path, api_port: int, metrics_port: int) -> str:
    """The configuration file that we lay over a pipeline's: its API, its own metrics, its data folder.

    JSON, which is YAML. The component ids begin with COMPONENT_PREFIX.
    """
    source, sink = f"{COMPONENT_PREFIX}metrics", f"{COMPONENT_PREFIX}exporter"
    configuration: dict[str, object] = {
        "api": {"enabled": True, "address": f"127.0.0.1:{api_port}"},
        "sources": {source: {"type": "internal_metrics", "scrape_interval_secs": METRICS_INTERVAL_SECONDS}},
        "sinks": {
            sink: {"type": "prometheus_exporter", "inputs": [source], "address": f"127.0.0.1:{metrics_port}"}
        },
    }
    if not has_own_data_dir(spec.config_yaml):
        # Two different values in two files would be refused.
        configuration["data_dir"] = str(data_dir)
    return json.dumps(configuration, indent=1) + "\n"


def ports_in(overlay_text: str) -> tuple[int, int] | None:
    """The API's and the metrics' port in what :func:`overlay` has made; ``None`` if it is something else."""
    try:
        configuration = json.loads(overlay_text)
        addresses = (
            configuration["api"]["address"],
            configuration["sinks"][f"{COMPONENT_PREFIX}exporter"]["address"],
        )
        api_port, metrics_port = (int(address.rpartition(":")[2]) for address in addresses)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return api_port, metrics_port


def has_own_data_dir(config_yaml: str) -> bool:
    """Whether a configuration names its own ``data_dir`` at the top level."""
    return any(
        not line.startswith((" ", "\t", "-")) and OWN_DATA_DIR.match(line)
        for line in config_yaml.splitlines()
    )


def start_command(vector_bin: str, config: Path, overlay_file: Path) -> list[str]:
    """How a child is started."""
    return [vector_bin, "--config", str(config), "--config", str(overlay_file)]


def validate_command(vector_bin: str, config: Path, overlay_file: Path) -> list[str]:
    """How a configuration is checked, exactly as it would be run, without touching what it talks to."""
    return [vector_bin, "validate", "--no-environment", str(config), str(overlay_file)]


def version_command(vector_bin: str) -> list[str]:
    """How Vector says what it is."""
    return [vector_bin, "--version"]


def tap_command(
    vector_bin: str, version: str | None, api_port: int, component_key: str, limit: int, *, of_inputs: bool
) -> list[str]:
    """How events of a running child are seen: one JSON object a line, other lines for people; it never ends.

    Vectors before 0.55 are asked over GraphQL, later ones over gRPC; ``version`` is what it says of itself.
    """
    number = VERSION.search(version or "")
    is_graphql = number is not None and (int(number[1]), int(number[2])) < GRPC_SINCE
    url = f"http://127.0.0.1:{api_port}" + ("/graphql" if is_graphql else "")
    flow = "inputs" if of_inputs else "outputs"
    return [
        vector_bin,
        "tap",
        "--format=json",
        "--no-reconnect",
        f"--limit={limit}",
        f"--url={url}",
        f"--{flow}-of={component_key}",
    ]


def tap_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What ``vector tap`` gets of ``environment``: no way out, it only asks this machine."""
    return {name: value for name, value in plain_environment(environment).items() if name not in PROXIES}


def is_unmatched(note: str) -> bool:
    """Whether ``vector tap`` says by ``note`` that there is nothing to see of what it was asked for."""
    return any(words in note for words in ("failed to match", "cannot be tapped"))


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every Vector that we run gets of ``environment``."""
    inherited = {
        name: value for name, value in environment.items() if name in INHERITED or name.startswith("LC_")
    }
    # Sinks want the way out too, but whoever writes a pipeline can read this: a password stays with the agent.
    proxies = {name: without_credentials(value) for name, value in environment.items() if name in PROXIES}
    return inherited | proxies


def child_environment(spec: PipelineSpec, data_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: a little of ours, and only what its pipeline names."""
    made = {
        "VF_DATA_DIR": str(data_dir),
        "VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS": str(GRACEFUL_SECONDS),
    }
    if spec.log_level is not None and LOG_LEVEL.fullmatch(spec.log_level):
        made["VECTOR_LOG"] = spec.log_level.lower()
    return plain_environment(environment) | made | dict(spec.secrets)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that are free now. They are not kept: whoever is quicker gets them."""
    sockets = []
    try:
        for _ in range(count):
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
        return tuple(bound.getsockname()[1] for bound in sockets)
    finally:
        for bound in sockets:
            bound.close()


def is_port_taken(port: int) -> bool:
    """Whether somebody listens on ``port`` of 127.0.0.1."""
    with socket.socket() as probe:
        # Connections of the past that linger do not count; only a listener refuses this.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Redactor:
    """Takes a pipeline's secrets out of what its child says."""

    def __init__(self, spec: PipelineSpec) -> None:
        values: set[str] = set()
        for name, value in spec.secrets.items():
            if not name.startswith("VF_SECRET_") or len(value) < 3:
                # Switches such as `true` are no secrets.
                continue
            values.add(value)
            try:
                values.add(json.loads(f'"{value}"'))
            except ValueError:
                pass
        # The longest first, so that no rest of one stays because a part of it was replaced.
        self._values = sorted(values, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """``text`` with every secret value replaced."""
        for value in self._values:
            text = text.replace(value, "***")
        return text
