"""`vector …`: what was asked, and the exit code it ends with."""

import argparse
import os
import platform
import signal
import sys

from . import VERSION, VERSION_LINE, api, log
from .checks import check, check_environment
from .configuration import DEFAULT_PATH, load
from .errors import ConfigurationError, UnreachableError
from .loop import Loop
from .tap import tap
from .topology import Topology
from .validation import validate

# As Vector, the codes of BSD's sysexits.
EX_UNAVAILABLE = 69
EX_CONFIG = 78


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    # What is printed may hold any character, whatever the locale.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        match options.command:
            case "validate":
                paths = [*options.paths, *options.config_yaml] or _paths_from_environment()
                return 0 if validate(paths, not options.no_environment, options.deny_warnings) else EX_CONFIG
            case "tap":
                return _tap(options)
        return _run(options.config or _paths_from_environment())
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vector",
        description="A stand-in for Vector with its command line and a small part of its components, for "
        "demonstrations and tests. Without a command it runs the pipeline of the configuration files.",
    )
    parser.add_argument("--version", "-V", action="version", version=VERSION_LINE)
    parser.add_argument(
        "--config",
        "-c",
        action="append",
        default=[],
        metavar="FILE",
        help="a configuration file; repeat it to merge several (else VECTOR_CONFIG)",
    )
    commands = parser.add_subparsers(dest="command", metavar="{validate,tap}")

    validating = commands.add_parser("validate", help="check configuration files and exit")
    validating.add_argument("paths", nargs="*", metavar="FILE")
    validating.add_argument("--config-yaml", action="append", default=[], metavar="FILE")
    validating.add_argument(
        "--no-environment",
        "--ne",
        action="store_true",
        help="check the files alone, not what the machine has",
    )
    validating.add_argument("--deny-warnings", "-d", action="store_true", help="let warnings fail")
    validating.add_argument("--skip-healthchecks", action="store_true", help="accepted; there are none")

    tapping = commands.add_parser("tap", help="print events of a running pipeline")
    tapping.add_argument(
        "components", nargs="?", default="", metavar="COMPONENTS", help="the same as --outputs-of"
    )
    tapping.add_argument(
        "--outputs-of", default="", metavar="COMPONENTS", help="ids by comma, with * as wildcard"
    )
    tapping.add_argument("--inputs-of", default="", metavar="COMPONENTS")
    tapping.add_argument("--url", "-u", default="http://127.0.0.1:8686")
    tapping.add_argument("--format", "-f", default="json", choices=["json"])
    tapping.add_argument(
        "--limit",
        "-l",
        type=_count,
        default=100,
        metavar="N",
        help="how many events at most in each interval",
    )
    tapping.add_argument("--interval", "-i", type=_count, default=500, metavar="MS")
    tapping.add_argument(
        "--duration-ms", "-d", type=_count, metavar="MS", help="without it, until interrupted"
    )
    tapping.add_argument("--meta", "-m", action="store_true", help="say which component each event came from")
    tapping.add_argument("--quiet", "-q", action="store_true")
    tapping.add_argument("--no-reconnect", "-n", action="store_true", help="accepted; it never reconnects")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _paths_from_environment() -> list[str]:
    return [path for path in os.environ.get("VECTOR_CONFIG", DEFAULT_PATH).split(",") if path]


def _tap(options: argparse.Namespace) -> int:
    outputs_of = [name for name in f"{options.outputs_of},{options.components}".split(",") if name]
    inputs_of = [name for name in options.inputs_of.split(",") if name]
    if not outputs_of and not inputs_of:
        outputs_of = ["*"]
    try:
        tap(
            options.url,
            outputs_of,
            inputs_of,
            options.limit,
            options.interval,
            options.duration_ms,
            options.meta,
            options.quiet,
        )
    except UnreachableError as error:
        print(f"[tap] {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    return 0


def _run(paths: list[str]) -> int:
    """Run the pipeline until it is told to stop, or until all its sources have finished."""
    level = log.set_level(os.environ.get("VECTOR_LOG", ""))
    log.info("vector::app", "Log level is enabled.", level=log.quote(level))
    loop = Loop()

    def stop(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        # Posted: the signal may have interrupted the writing of a log line.
        loop.post(lambda: log.info("vector::signal", "Signal received.", signal=log.quote(name)))
        loop.post(loop.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        log.info("vector::app", "Loading configs.", paths=log.quote(paths))
        _, configuration = load(paths)
        pipeline = check(configuration)
        refusals = check_environment(pipeline)
        if refusals:
            raise ConfigurationError(refusals)
        for warning in pipeline.warnings:
            log.warn("vector::config::loading", warning)
        topology = Topology(pipeline, loop)
        topology.start()
        if pipeline.api_address is not None:
            try:
                api.start(pipeline.api_address, topology)
            except OSError as error:
                raise ConfigurationError([f"api: {pipeline.api_address}: {error}"]) from error
    except ConfigurationError as error:
        for reason in error.reasons:
            log.error("vector::cli", "Configuration error.", error=log.quote(reason))
        return EX_CONFIG
    log.info(
        "vector",
        "Vector has started. (signalbox stand-in; not Vector)",
        version=log.quote(VERSION),
        arch=log.quote(platform.machine()),
        revision=log.quote("stand-in"),
    )
    loop.run()
    topology.stop()
    log.info("vector", "Vector has stopped.")
    return 0
