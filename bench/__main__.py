"""The benchmark suite: `python -m bench [--scale quick|medium|full|tiny] [--only name …] [--minutes N] …`.

It builds its load programs, starts its own servers and peers, takes everything in turn, and writes a table, JSON and
pictures to a folder. `--check` compares the ratios with `bench/baseline.json` and exits with 1 where one is worse;
`--keep` writes that file anew. Ctrl-C or SIGTERM ends it with what was measured until then; nothing is left running.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bench import baseline, documents, load, measures, report
from bench.pictures import write_pictures
from bench.place import Place, say
from bench.results import Results
from bench.scale import SCALES
from tests.support import PROJECT

GRACE_SECONDS = 120
"""How long what was begun in time may last; then it is interrupted."""


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _stop)
    scale = SCALES[arguments.scale]
    if arguments.crowd:
        scale = replace(scale, crowd=arguments.crowd, crowd_most=arguments.crowd_most or arguments.crowd)
    if arguments.crowd_seconds:
        scale = replace(scale, crowd_seconds=arguments.crowd_seconds)
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    if arguments.sockets:
        scale = replace(scale, sockets=arguments.sockets, nodes=arguments.sockets)
    if arguments.sustained is not None:
        scale = replace(scale, sustained_seconds=arguments.sustained)
    try:
        chosen = measures.named(arguments.only) if arguments.only else measures.all_of(scale)
    except KeyError as error:
        print(f"bench: no measurement is called {error.args[0]}", file=sys.stderr)
        return 2
    results = Results(facts=_facts(scale.name))
    began = time.monotonic()
    deadline = began + arguments.minutes * 60 if arguments.minutes else None
    if arguments.minutes:
        signal.alarm(int(arguments.minutes * 60 + GRACE_SECONDS))
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = None
    if folder.resolve() == documents.FOLDER:
        measures.named(measures.SMALL + measures.REST)  # every figure is known
        before = documents.latest()
    interrupted = False
    load.build()
    try:
        with Place(deadline) as place:
            for each in chosen:
                if not place.has_time:
                    say(f"{each.NAME}: left out, the time is over")
                    results.facts.setdefault("leftOut", []).append(f"{each.NAME}: the time was over")
                    continue
                _measure(each, place, scale, results)
                _write(results, folder, scale.name, began, before)
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted; this is what was measured")
    _write(results, folder, scale.name, began, before)
    print(report.text(results))
    say(f"written to {folder}")
    if arguments.keep:
        kept = baseline.made_from(results)
        if arguments.only:  # the others stay as they are
            kept["ratios"] = {**baseline.read()["ratios"], **kept["ratios"]}
        baseline.FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    if arguments.check:
        wanted = baseline.read()
        if wanted["facts"].get("scale") != scale.name:
            say(f"the baseline was made at another scale: {wanted['facts'].get('scale')}")
        findings = baseline.compare(results, wanted)
        if not findings:
            print(
                "bench: bench/baseline.json has no ratio of what was measured; --keep writes it",
                file=sys.stderr,
            )
            return 1
        for finding in findings:
            print(f"{'WORSE' if finding.is_worse else 'ok':6}{finding.sentence}")
        if any(finding.is_worse for finding in findings):
            return 1
    return 1 if interrupted or results.facts.get("failed") else 0


def _measure(each: Any, place: Place, scale: Any, results: Results) -> None:
    """One measurement; what goes wrong in it costs only itself."""
    say(f"{each.NAME}: {each.__doc__.splitlines()[0]}")
    try:
        each.measure(place, scale, results)
    except Exception as error:
        traceback.print_exc()
        results.facts.setdefault("failed", []).append(f"{each.NAME}: {error}".splitlines()[0])


def _write(results: Results, folder: Path, name: str, began: float, before: Results | None) -> None:
    """`before` is what the documents were made of, where it is they that are written."""
    results.facts["took"] = f"{(time.monotonic() - began) / 60:.1f} minutes"
    if before is not None:
        documents.write(documents.merge(before, results), folder)
        return
    report.write_json(results, folder / f"{name}.json")
    pictures = write_pictures(results, folder, name)
    (folder / f"{name}.md").write_text(report.markdown(results, pictures))


def _facts(scale: str) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "unknown",
        "scale": scale,
        "machine": f"{os.cpu_count()} cores, {_model()}, Linux {platform.release()},"
        f" Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the start",
    }


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Once: what was started is stopped in order, which takes half a minute at most, and is not interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these measurements and no others")
    parser.add_argument(
        "--minutes", type=float, help="begin no new round after so many, and end two later whatever happens"
    )
    parser.add_argument("--rounds", type=int, help="how often each has its turn")
    parser.add_argument("--sockets", type=int, help="of each contender, and nodes of the fleet")
    parser.add_argument(
        "--sustained", type=float, metavar="SECONDS", help="how long heartbeats come without a pause"
    )
    parser.add_argument("--crowd", type=int, metavar="SOCKETS", help="of the large crowd")
    parser.add_argument("--crowd-most", type=int, metavar="SOCKETS", help="what is tried beyond it")
    parser.add_argument("--crowd-seconds", type=float, help="how long none of it may be lost")
    parser.add_argument("--folder", default=str(PROJECT / "build" / "bench" / "results"))
    parser.add_argument("--check", action="store_true", help="compare with the baseline")
    parser.add_argument("--keep", action="store_true", help="make this run the baseline")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
