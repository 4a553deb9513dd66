"""What is printed: tables that fit, text that steers no terminal, lists of which only the new is shown."""

from signalbox_cli import output
from signalbox_cli.event_streams import Event, events
from signalbox_cli.plain_text import cut, printable, width
from signalbox_cli.windows import Replay, Window

COLUMNS: list[output.Column] = [("NAME", lambda row: row[0]), ("WHAT", lambda row: row[1])]


def test_a_table_is_as_wide_as_the_terminal_and_no_wider() -> None:
    """Columns stay below their titles, whatever characters they hold; what is too long ends with an ellipsis."""
    rows = [("節点", "x" * 50), ("a", None), ("b\x1b[31m", True)]
    assert output.lines(rows, COLUMNS, None)[1:] == [
        f"節点       {'x' * 50}",
        "a          -",
        "b\\x1b[31m  yes",
    ]
    shown = output.lines(rows, COLUMNS, 30)
    assert max(width(line) for line in shown) == 30
    assert shown[1] == f"節点       {'x' * 18}…"
    assert output.lines(rows, COLUMNS, 1), "narrower than it can be"
    with_ids = [*COLUMNS, ("ID", lambda row: "0" * 32)]
    assert output.lines(rows, with_ids, 60) == output.lines(rows, COLUMNS, 60), "half an id helps nobody"


def test_colour_is_beside_the_word_and_never_in_place_of_it() -> None:
    """The cells are the same without it."""
    (_, line) = output.lines([("FAILED", "x")], COLUMNS, None, coloured=True)
    assert line == "\x1b[31mFAILED\x1b[0m  x"


def test_text_from_elsewhere_steers_no_terminal() -> None:
    """Escapes, line ends, bells and what turns writing around are written out; letters of all kinds stay."""
    assert printable("a\tä節\x1b]0;x\x07\r\n\u202e") == "a\tä節\\x1b]0;x\\x07\\r\\n\\u202e"
    assert output.to_json({"a": "ä\x9b\u202e\ud800\n"}, None) == '{"a": "ä\\u009b\\u202e\\ud800\\n"}'
    assert cut("節節節", 4) == "節…"
    assert width("é") == width("e\u0301") == 1


def test_of_a_list_that_moves_on_only_the_new_is_shown() -> None:
    """Appended, cut off in front, cut short, shown again late, or begun anew."""
    window = Window()
    assert window.new(["a", "b", "c"]) == ["a", "b", "c"]
    assert window.new(["a", "b", "c"]) == []
    assert window.new(["b", "c", "d"]) == ["d"]
    assert window.new(["d"]) == []
    assert window.new(["b", "c"]) == [], "an older answer"
    assert window.new(["d", "d", "e"]) == ["d", "e"]
    assert window.new(["x", "y"]) == ["x", "y"]
    assert window.new([]) == []


def test_a_stream_that_began_again_repeats_nothing() -> None:
    """Whether it repeats all, the last, or nothing of what was shown."""

    def new(seen: str, again: str) -> str:
        replay = Replay(seen)
        return "".join("".join(replay.new(each)) for each in again)

    assert new("", "ab") == "ab"
    assert new("abc", "abcd") == "d"
    assert new("abc", "bcde") == "de"
    assert new("abc", "xyz") == "xyz"
    assert new("abc", "bxyz") == "bxyz", "one that looked like a repetition, and was none"
    assert new("aaa", "aaab") == "b"
    assert new("xab", "abab") == "ab"


def test_events_come_whole_in_whatever_pieces() -> None:
    """Comments and half an event at the end are left out; a line end may be torn apart."""
    pieces = [b": hi\n\nevent: a\r", b'\ndata: {"x":', b" 1}\r\n\r\ndata: b\ndata: c\n", b"\nevent: half\n"]
    assert list(events(pieces)) == [Event("a", '{"x": 1}'), Event("message", "b\nc")]
