"""`vector validate`, and what it prints."""

import json

from .checks import check, check_environment
from .configuration import load
from .errors import ConfigurationError


def validate(paths: list[str], environment: bool, deny_warnings: bool) -> bool:
    """Check the files, print what was found as Vector does, and answer whether they can run."""
    report = _Report()
    quoted = json.dumps(paths, ensure_ascii=False)
    try:
        files, configuration = load(paths)
        quoted = json.dumps(files, ensure_ascii=False)
        pipeline = check(configuration)
    except ConfigurationError as error:
        report.titled(f"Failed to load {quoted}", "x", error.reasons)
        return False
    if pipeline.warnings and deny_warnings:
        report.titled(f"Failed to load {quoted}", "x", pipeline.warnings)
        return False
    if pipeline.warnings:
        report.titled(f"Loaded with warnings {quoted}", "~", pipeline.warnings)
    else:
        report.line(f"√ Loaded {quoted}")
    if environment:
        refusals = check_environment(pipeline)
        if refusals:
            report.titled("Component errors", "x", refusals)
            return False
        report.line("√ Component configuration")
        for part in pipeline.parts:
            if part.kind == "sink":
                report.line(f'√ Health check "{part.id}"')
    report.validated()
    return True


class _Report:
    """Lines on standard output, and how wide they have become."""

    def __init__(self) -> None:
        self._width = 0

    def line(self, text: str) -> None:
        self._width = max(self._width, *(len(row) for row in text.split("\n")))
        print(text)

    def titled(self, title: str, mark: str, sentences: list[str]) -> None:
        self.line(title)
        self.line("-" * len(title))
        for sentence in sentences:
            self.line(f"{mark} {sentence}")

    def validated(self) -> None:
        print("-" * self._width)
        print("Validated".rjust(self._width))
