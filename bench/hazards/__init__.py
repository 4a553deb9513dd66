"""One experiment for each hazard that shows under load: `run(place, scale, kept=…)` answers figures by key.

`kept` is whether the server keeps its rule; without it a module of `bench/without`, or a setting that exists, takes
the rule away, and nothing else is different. `RULE` says in words what is in its place then.
"""

from __future__ import annotations

from bench.figures import figure

WITHOUT = "without the rule"
"""The contender beside ours."""


def without(module: str, kept: bool) -> dict[str, str]:
    """The setting that takes the rule away, unless it is *kept*."""
    return {} if kept else {"BENCH_WITHOUT": module}


def compared(key: str, title: str, unit: str, better: str, what: str, rule: str = "") -> str:
    """A figure of both sides; *rule* is what is in place of the rule on the other one."""
    number = key.partition("_")[0].removeprefix("h").lstrip("0")
    replaced = f"; without the rule: {rule}" if rule else ""
    return figure(f"hazards.{key}", f"hazard {number}: {title}", unit, better, what + replaced)
