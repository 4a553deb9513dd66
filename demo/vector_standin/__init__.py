"""A stand-in for Vector, for demonstrations and tests where no real Vector is installed.

It has Vector's command line and a small honest part of its components, and does visible work on
real files. Read it in this order:

    command_line.py     `vector …`: what was asked
    configuration.py    files -> one mapping: interpolation, reading, merging
    fields.py           what options a component takes
    checks.py           mapping -> checked pipeline, or Vector-like refusals
    components.py       the table of everything that can stand in a configuration
    topology.py         the running pipeline: sources -> transforms -> sinks, on one thread
    loop.py             that thread: timers, and calls posted by others
    api.py, tap.py      the two ends of `vector tap`, and /health

Facts about Vector (names, messages, exit codes, metric names) are those of its 0.50 release.
"""

VERSION = "0.50.0"
VERSION_LINE = f"vector {VERSION} (signalbox stand-in; not Vector)"
