r"""A small part of the Vector Remap Language: conditions for `filter`, programs for `remap`.

Exactly this is understood:

    fields        `.`  `.status`  `.user.name`  `."dotted.name"`  `.list[0]`; a missing field is null
    literals      "text" with \" \\ \n \t escapes, s'raw text', 42, 4.2, true, false, null, r'regex'
    operators     !   < <= > >=   == !=   &&   ||   ??   in falling order of binding, and parentheses
    functions     starts_with, ends_with, contains (value, substring, case_sensitive: true),
                  match (value, r'…'), exists(.field), is_null, is_string, is_integer, length, downcase,
                  upcase, to_int, to_float, to_string, string, int, float, bool, parse_json, now;
                  `name!(…)` ends the program on failure
    statements    `.field = expression` and `del(.field)`, one a line or separated by `;` (remap only)
    comments      # to the end of the line

A condition must give a boolean. `<` and its like compare two numbers or two strings; anything else fails, as
does a function on a value of the wrong kind, and a failure that no `??` catches fails the event.

Vector itself proves at compile time that nothing unhandled can fail: it refuses `.status >= 400` and
`contains(.message, "x")`, and wants `int!(.status) >= 400` and `contains(string!(.message), "x")`. Here those
run, and compiling returns a warning for each. Regular expressions are Python's, which differ from Rust's in
rare corners (look-around, back references).
"""

import re
from typing import Any, NoReturn

from .errors import ExpressionError
from .events import LogEvent
from .vrl_fields import MISSING, NAME, delete, read, segments_of, unescape, write
from .vrl_functions import ANY, FUNCTIONS
from .vrl_nodes import Node, Token, bind, boolean, combine, literal

_TOKEN = re.compile(
    rf"""
      (?P<skip>[ \t\r]+|\#[^\n]*)
    | (?P<separator>[\n;])
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<raw>s'(?:[^'\\]|\\.)*')
    | (?P<regex>r'(?:[^'\\]|\\.)*')
    | (?P<float>-?\d[\d_]*\.\d+)
    | (?P<integer>-?\d[\d_]*)
    | (?P<path>\.(?:{NAME}|\[-?\d+\])?(?:\.{NAME}|\[-?\d+\])*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<operator>==|!=|<=|>=|&&|\|\||\?\?|[<>!=(),:])
    """,
    re.VERBOSE,
)
# What binds loosest comes first.
_BINARY = (("??",), ("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))


class Program:
    """A compiled program: the value of its last statement for an event, which assignments change in place."""

    def __init__(self, statements: list[Node], warnings: list[str]) -> None:
        self._statements = statements
        self.kind = statements[-1].kind
        self.warnings = warnings

    def run(self, event: LogEvent) -> Any:
        result = None
        for statement in self._statements:
            result = statement.run(event)
        return result


def compile_program(source: str) -> Program:
    """Compile a remap program. Raises ExpressionError."""
    return _compile(source, assignments=True)


def compile_condition(source: str) -> Program:
    """Compile a condition, which must give a boolean and change nothing. Raises ExpressionError."""
    program = _compile(source, assignments=False)
    if program.kind not in ("boolean", ANY):
        raise ExpressionError(
            f"error[E110]: conditions must resolve to a boolean, this one is {program.kind}"
        )
    if program.kind == ANY:
        program.warnings.append("Vector itself refuses a condition that is not surely a boolean")
    return program


def _compile(source: str, assignments: bool) -> Program:
    try:
        return _Parser(source, assignments).program()
    except RecursionError as error:
        raise ExpressionError("error[E203]: syntax error: the program is nested too deeply") from error


class _Parser:
    def __init__(self, source: str, assignments: bool) -> None:
        self._tokens = _tokens_of(source)
        self._assignments = assignments
        self._warnings: list[str] = []

    # -- reading tokens

    @property
    def _next(self) -> Token:
        return self._tokens[0]

    def _take(self) -> Token:
        return self._tokens.pop(0)

    def _refuse(self, token: Token, wanted: str) -> NoReturn:
        found = "end of program" if token.kind == "end" else f'"{token.text}"'.replace("\n", "\\n")
        raise ExpressionError(
            f"error[E203]: syntax error at {token.at}: unexpected {found}, expected {wanted}"
        )

    def _expect(self, text: str) -> None:
        if self._next.text != text or self._next.kind != "operator":
            self._refuse(self._next, f'"{text}"')
        self._take()

    def _skip_separators(self) -> None:
        while self._next.kind == "separator":
            self._take()

    # -- statements

    def program(self) -> Program:
        statements: list[Node] = []
        self._skip_separators()
        while self._next.kind != "end":
            start = self._next
            statement = self._statement()
            if statement.fails:
                self._warnings.append(
                    f"Vector itself refuses what can fail unhandled: the expression at {start.at}"
                )
            statements.append(statement)
            if self._next.kind not in ("separator", "end"):
                self._refuse(self._next, "an operator or the end of the statement")
            self._skip_separators()
        if not statements:
            raise ExpressionError("error[E203]: syntax error at 1:1: the program is empty")
        return Program(statements, self._warnings)

    def _statement(self) -> Node:
        assigned = self._tokens[1] if self._next.kind == "path" else self._next
        if assigned.text != "=" or not self._assignments:
            return self._expression(0)
        segments = segments_of(self._take().text)
        self._take()
        value = self._expression(0)

        def assign(event: LogEvent) -> Any:
            result = value.run(event)
            write(event, segments, result)
            return result

        return Node(assign, value.kind, value.fails)

    # -- expressions, loosest binding first

    def _expression(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._unary()
        left = self._expression(level + 1)
        while self._operator_follows(_BINARY[level]):
            operator = self._take()
            self._skip_separators()
            left = combine(operator, left, self._expression(level + 1))
        return left

    def _operator_follows(self, operators: tuple[str, ...]) -> bool:
        """Whether one of these comes next; a line that begins with an operator continues the one before."""
        ahead = next(token for token in self._tokens if token.text != "\n")
        if ahead.kind != "operator" or ahead.text not in operators:
            return False
        self._skip_separators()
        return True

    def _unary(self) -> Node:
        if self._next.text == "!" and self._next.kind == "operator":
            operator = self._take()
            operand = self._unary()
            if operand.kind not in ("boolean", ANY):
                raise ExpressionError(f"error[E660]: non-boolean negation at {operator.at}: {operand.kind}")
            return Node(
                lambda event: not boolean(operand.run(event), "!"),
                "boolean",
                operand.fails or operand.kind == ANY,
            )
        return self._primary()

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "path":
                segments = segments_of(token.text)
                return Node(lambda event: read(event, segments), ANY)
            case "string":
                return literal(unescape(token.text[1:-1]))
            case "raw":
                return literal(token.text[2:-1])
            case "integer":
                return literal(int(token.text))
            case "float":
                return literal(float(token.text))
            case "regex":
                try:
                    return literal(re.compile(token.text[2:-1].replace("\\'", "'")))
                except re.error as error:
                    raise ExpressionError(
                        f"error[E101]: invalid regular expression at {token.at}: {error}"
                    ) from error
            case "name" if token.text in ("true", "false", "null"):
                return literal({"true": True, "false": False, "null": None}[token.text])
            case "name":
                return self._call(token)
            case "operator" if token.text == "(":
                self._skip_separators()
                inner = self._expression(0)
                self._skip_separators()
                self._expect(")")
                return inner
        self._refuse(token, "an expression")

    # -- function calls

    def _call(self, name: Token) -> Node:
        aborts = self._next.text == "!"
        if aborts:
            self._take()
        self._expect("(")
        if name.text in ("exists", "del"):
            return self._path_call(name)
        function = FUNCTIONS.get(name.text)
        if function is None:
            raise ExpressionError(f'error[E105]: call to undefined function at {name.at}: "{name.text}"')
        call = bind(name, function, self._arguments())
        if aborts and not call.fails:
            self._warnings.append(f"Vector itself refuses `{name.text}!` at {name.at}, which can not fail")
        return Node(call.run, call.kind, call.fails and not aborts)

    def _path_call(self, name: Token) -> Node:
        target = self._take()
        if target.kind != "path":
            self._refuse(target, "a field")
        self._expect(")")
        segments = segments_of(target.text)
        if name.text == "exists":
            return Node(lambda event: read(event, segments, MISSING) is not MISSING, "boolean")
        if not self._assignments:
            raise ExpressionError(f"error[E315]: a condition may not change the event: del at {name.at}")
        return Node(lambda event: delete(event, segments), ANY)

    def _arguments(self) -> list[tuple[str, Node]]:
        """(name or "", value) of each argument, up to and with the closing parenthesis."""
        arguments: list[tuple[str, Node]] = []
        self._skip_separators()
        while not (self._next.kind == "operator" and self._next.text == ")"):
            name = ""
            if self._next.kind == "name" and self._tokens[1].text == ":":
                name = self._take().text
                self._take()
            arguments.append((name, self._expression(0)))
            self._skip_separators()
            if self._next.text != ")":
                self._expect(",")
                self._skip_separators()
        self._take()
        return arguments


def _tokens_of(source: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        line = source.count("\n", 0, position) + 1
        at = f"{line}:{position - source.rfind(chr(10), 0, position)}"
        found = _TOKEN.match(source, position)
        if found is None:
            raise ExpressionError(f'error[E202]: syntax error at {at}: unexpected "{source[position]}"')
        if found.lastgroup != "skip":
            tokens.append(Token(found.lastgroup or "", found[0], at))
        position = found.end()
    # Twice, so that looking one token ahead needs no check.
    return [*tokens, *[Token("end", "", f"{source.count(chr(10)) + 1}:{len(source) + 1}")] * 2]
