"""The transforms: filter, sample, remap."""

import copy
from typing import Any, ClassVar

from . import log
from .component import LOG, METRIC, Transform
from .errors import ExpressionError
from .events import Event, fields_of
from .fields import Field, Fields
from .vrl import compile_condition, compile_program
from .vrl_functions import RuntimeFault


class Filter(Transform):
    """Passes the events for which the condition is true; drops those on which it fails, as errors."""

    type = "filter"
    fields: ClassVar[Fields] = {"condition": Field("condition", required=True)}
    takes = gives = LOG | METRIC

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        try:
            return [], compile_condition(options["condition"]).warnings
        except ExpressionError as error:
            return [str(error)], []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._condition = compile_condition(self.options["condition"])

    def transform(self, events: list[Event]) -> list[Event]:
        passed = [event for event in events if self._passes(event)]
        if len(passed) < len(events):
            self.counters.discarded[True] += len(events) - len(passed)
        return passed

    def _passes(self, event: Event) -> bool:
        try:
            result = self._condition.run(fields_of(event))
        except RuntimeFault as fault:
            self.report_error(
                "VRL condition execution failed.", "script_failed", "processing", error=log.quote(fault)
            )
            return False
        return result is True


class Sample(Transform):
    """Passes one event in `rate`, of each value of `key_field` where that is given."""

    type = "sample"
    fields: ClassVar[Fields] = {
        "rate": Field("integer", required=True),
        "key_field": Field("string"),
        "exclude": Field("condition"),
    }
    takes = gives = LOG

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        if options["rate"] < 1:
            return ["invalid value for `rate`: 0, expected at least 1"], []
        if options["exclude"] is None:
            return [], []
        try:
            return [], compile_condition(options["exclude"]).warnings
        except ExpressionError as error:
            return [str(error)], []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._counts: dict[str, int] = {}
        self._exclude = compile_condition(self.options["exclude"]) if self.options["exclude"] else None

    def transform(self, events: list[Event]) -> list[Event]:
        passed = [event for event in events if self._passes(fields_of(event))]
        if len(passed) < len(events):
            self.counters.discarded[True] += len(events) - len(passed)
        return passed

    def _passes(self, event: dict[str, Any]) -> bool:
        """Events under `exclude` are not sampled: they all pass, as in Vector."""
        try:
            if self._exclude is not None and self._exclude.run(event) is True:
                return True
        except RuntimeFault as fault:
            self.report_error(
                "VRL condition execution failed.", "script_failed", "processing", error=log.quote(fault)
            )
        key = str(event.get(self.options["key_field"], "")) if self.options["key_field"] else ""
        count = self._counts.get(key, 0)
        self._counts[key] = (count + 1) % self.options["rate"]
        return count == 0


class Remap(Transform):
    """Runs a program over a copy of each event.

    An event on which it fails goes on unchanged, or is dropped with `drop_on_error`.
    """

    type = "remap"
    fields: ClassVar[Fields] = {
        "source": Field("string", required=True),
        "drop_on_error": Field("boolean", default=False),
    }
    takes = gives = LOG

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        try:
            return [], compile_program(options["source"]).warnings
        except ExpressionError as error:
            return [str(error)], []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._program = compile_program(self.options["source"])

    def transform(self, events: list[Event]) -> list[Event]:
        results: list[Event] = []
        for event in events:
            changed = copy.deepcopy(fields_of(event))
            try:
                self._program.run(changed)
            except RuntimeFault as fault:
                self.report_error(
                    "Mapping failed with event.", "conversion_failed", "processing", error=log.quote(fault)
                )
                if self.options["drop_on_error"]:
                    self.counters.discarded[False] += 1
                else:
                    results.append(event)
                continue
            results.append(changed)
        return results
