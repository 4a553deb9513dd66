"""The reading of server-sent events: whatever way the network cuts them up, the same events come out."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.event_stream import MOST_EVENT_BYTES, MOST_LINE_BYTES, BrokenStreamError, EventStreamParser

Events = list[tuple[str, bytes]]

names = st.sampled_from(["config_changed", "close", "tomorrow", ""])
texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40)
ends = st.sampled_from([b"\n", b"\r\n"])
spaces = st.sampled_from([b"", b" "])


def parse(data: bytes, cuts: list[int] | None = None) -> tuple[Events, str | None]:
    """The events in *data*, fed in pieces, and what was wrong in the end."""
    parser = EventStreamParser()
    bounds = [0, *sorted({cut % (len(data) + 1) for cut in cuts or []}), len(data)]
    events: Events = []
    try:
        for start, end in itertools.pairwise(bounds):
            for event in parser.feed(data[start:end]):
                events.append(event)
    except BrokenStreamError as error:
        return events, str(error)
    return events, None


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, Events]:
    """A stream as a server or something on the way may write it, and the events in it."""
    data, events = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])), []
    end = draw(ends)
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["event", "comment", "field", "nothing"]))
        if kind == "event":
            name, lines = draw(names), draw(st.lists(texts, min_size=1, max_size=3))
            fields = [b"data:" + draw(spaces.filter(bool)) + text.encode() for text in lines]
            fields.insert(draw(st.integers(0, len(fields))), b"event:" + draw(spaces) + name.encode())
            data += b"".join(field + end for field in fields) + end
            events.append((name, "\n".join(lines).encode()))
        elif kind == "comment":
            data += b": " + draw(texts).encode() + end + draw(st.sampled_from([b"", end]))
        elif kind == "field":
            data += draw(st.sampled_from([b"id: 7", b"retry: 100", b"unheard of", b"event: x"])) + end + end
        else:
            data += end
    return data, events


@given(streams(), st.lists(st.integers(0, 10_000), max_size=20))
def test_events_come_out_whole_however_the_stream_is_split(
    stream: tuple[bytes, Events], cuts: list[int]
) -> None:
    """In the middle of a line, between CR and LF, inside a character: a split is no boundary."""
    data, events = stream
    assert parse(data, cuts) == (events, None)


@given(
    st.lists(
        st.sampled_from([b"data", b"event", b":", b" ", b"\n", b"\r", b"x", b"\xff", b"\0"]), max_size=60
    ),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_no_bytes_upset_the_reader(pieces: list[bytes], cuts: list[int]) -> None:
    """Rubbish is read like anything else, and the splits still make no difference."""
    data = b"".join(pieces)
    assert parse(data, cuts) == parse(data)


def test_what_our_server_writes_is_read() -> None:
    """One space after each colon, comments between."""
    message = {"type": "config_changed", "pipelineId": "p1", "reason": "deploy"}
    data = f": connected\n\nevent: config_changed\ndata: {json.dumps(message)}\n\n: keepalive\n\n"
    (event,), wrong = parse(data.encode())
    assert (event[0], json.loads(event[1]), wrong) == ("config_changed", message, None)


def test_the_space_after_a_colon_may_be_missing() -> None:
    """And of two spaces only one is not the text's own."""
    assert parse(b"event:a\ndata:{}\n\nevent:  b\ndata:  {}\n\n") == ([("a", b"{}"), (" b", b" {}")], None)


def test_an_event_without_data_is_none_and_one_that_has_not_ended_neither() -> None:
    """A connection may break in the middle of an event: half of it is not acted on."""
    assert parse(b"event: a\n\ndata: 1\n\nevent: b\ndata: 2\n") == ([("", b"1")], None)


@pytest.mark.parametrize("cuts", [[], [1000, 50_000, MOST_LINE_BYTES]], ids=["at once", "in pieces"])
@pytest.mark.parametrize("start", [b": ", b"data: "])
def test_a_line_is_bounded_also_when_it_never_ends(start: bytes, cuts: list[int]) -> None:
    """What came before it counts; memory does not grow with what a broken proxy sends."""
    longest = start + b"x" * (MOST_LINE_BYTES - len(start))
    before = b"data: 1\n\n"
    assert parse(before + longest + b"\n", cuts)[1] is None
    events, wrong = parse(before + longest + b"x", cuts)
    assert events == [("", b"1")]
    assert wrong
    assert parse(before + longest + b"x\n", cuts) == (events, wrong)


def test_an_event_of_many_lines_is_bounded_too() -> None:
    """Else it could grow without any line being long."""
    line = b"data: " + b"x" * 1022 + b"\n"
    assert parse(line * (MOST_EVENT_BYTES // 1023) + b"\n")[1] is None
    assert parse(line * (MOST_EVENT_BYTES // 1023 + 1) + b"\n")[1]
