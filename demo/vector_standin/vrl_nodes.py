"""Compiled VRL expressions: literals, calls and operators as functions of an event."""

import operator as python
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ExpressionError
from .events import LogEvent
from .vrl_functions import ANY, Function, RuntimeFault, kind_of

Run = Callable[[LogEvent], Any]

_NUMBERS = ("integer", "float")
_COMPARISONS = {"<": python.lt, "<=": python.le, ">": python.gt, ">=": python.ge}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: str


@dataclass(frozen=True)
class Node:
    """A compiled expression. kind: that of its value, or "any". fails: it may fail on some event."""

    run: Run
    kind: str
    fails: bool = False


def literal(value: Any) -> Node:
    return Node(lambda event: value, kind_of(value))


def bind(name: Token, function: Function, arguments: list[tuple[str, Node]]) -> Node:
    """Put arguments to parameters: named ones by name, the others in order."""
    by_name = {given: node for given, node in arguments if given}
    in_order = [node for given, node in arguments if not given]
    bound: list[Node] = []
    fails = function.fails
    for parameter in function.parameters:
        node = by_name.pop(parameter.name, None) or (in_order.pop(0) if in_order else None)
        if node is None:
            if parameter.required:
                raise ExpressionError(
                    f"error[E107]: missing function argument at {name.at}: "
                    f'{name.text} wants "{parameter.name}"'
                )
            node = literal(parameter.default)
        if parameter.kinds != (ANY,):
            if node.kind != ANY and node.kind not in parameter.kinds:
                raise ExpressionError(
                    f"error[E110]: invalid argument type at {name.at}: {name.text} wants "
                    f'{" or ".join(parameter.kinds)} as "{parameter.name}", not {node.kind}'
                )
            fails = fails or node.kind == ANY
        fails = fails or node.fails
        bound.append(node)
    if by_name or in_order:
        raise ExpressionError(f"error[E106]: too many function arguments at {name.at}: {name.text}")

    def run(event: LogEvent) -> Any:
        values = [node.run(event) for node in bound]
        for parameter, value in zip(function.parameters, values, strict=True):
            if parameter.kinds != (ANY,) and kind_of(value) not in parameter.kinds:
                raise RuntimeFault(
                    f'function call error for "{name.text}" at {name.at}: '
                    f"expected {' or '.join(parameter.kinds)}, got {kind_of(value)}"
                )
        try:
            return function.call(*values)
        except RuntimeFault as fault:
            raise RuntimeFault(f'function call error for "{name.text}" at {name.at}: {fault}') from fault

    return Node(run, function.result, fails)


def combine(operator: Token, left: Node, right: Node) -> Node:
    both = left.fails or right.fails
    match operator.text:
        case "??":

            def coalesce(event: LogEvent) -> Any:
                try:
                    return left.run(event)
                except RuntimeFault:
                    return right.run(event)

            return Node(coalesce, left.kind if left.kind == right.kind else ANY, right.fails)
        case "||":

            def either(event: LogEvent) -> Any:
                value = left.run(event)
                return right.run(event) if value is None or value is False else value

            return Node(either, left.kind if left.kind == right.kind else ANY, both)
        case "&&":

            def each(event: LogEvent) -> bool:
                return boolean(left.run(event), "&&") and boolean(right.run(event), "&&")

            return Node(each, "boolean", both or ANY in (left.kind, right.kind))
        case "==" | "!=":
            wanted = operator.text == "=="
            return Node(lambda event: _equal(left.run(event), right.run(event)) is wanted, "boolean", both)
    known = {left.kind, right.kind}
    comparable = known <= set(_NUMBERS) or known == {"string"}
    if not comparable and ANY not in known:
        raise ExpressionError(
            f"error[E110]: can't compare {left.kind} {operator.text} {right.kind} at {operator.at}"
        )
    return Node(
        lambda event: _compare(operator, left.run(event), right.run(event)), "boolean", both or ANY in known
    )


def boolean(value: Any, operator: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RuntimeFault(f"can't apply {operator} to {kind_of(value)}")
    return value


def _equal(left: Any, right: Any) -> bool:
    # To Python True == 1; to VRL it is not.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _compare(operator: Token, left: Any, right: Any) -> bool:
    kinds = {kind_of(left), kind_of(right)}
    if not (kinds <= set(_NUMBERS) or kinds == {"string"}):
        raise RuntimeFault(f"can't compare {kind_of(left)} {operator.text} {kind_of(right)} at {operator.at}")
    return bool(_COMPARISONS[operator.text](left, right))
