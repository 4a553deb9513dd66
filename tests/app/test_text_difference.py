"""The difference between two texts, as people read it."""

from hypothesis import given
from hypothesis import strategies as st

from app import text_difference


def test_three_lines_stand_around_a_change() -> None:
    """Each with its numbers; what is left out between is counted."""
    old = [f"line {number}" for number in range(1, 21)]
    new = [*old[:9], "other", *old[10:]]
    lines = text_difference.difference("\n".join(old), "\n".join(new))
    assert [line.mark for line in lines] == ["…", " ", " ", " ", "-", "+", " ", " ", " ", "…"]
    assert (lines[0].text, lines[-1].text) == ("6 lines are the same", "7 lines are the same")
    assert [(line.old, line.new, line.text) for line in lines[4:6]] == [
        (10, None, "line 10"),
        (None, 10, "other"),
    ]


def test_a_large_change_is_shown_whole_and_bounded() -> None:
    """It is not searched for what is alike, which would take minutes."""
    old, new = ("\n".join(f"{word} {n % 7}" for n in range(20_000)) for word in ("a", "b"))
    lines = text_difference.difference(old, new)
    assert len(lines) == text_difference.MAX_SHOWN + 1


@given(*[st.lists(st.sampled_from("abc"), max_size=12)] * 2)
def test_what_is_shown_leads_from_one_to_the_other(old: list[str], new: list[str]) -> None:
    """Every line is there by its number, removed lines are the old text's and added ones the new text's."""
    for line in text_difference.difference("\n".join(old), "\n".join(new)):
        if line.old is not None:
            assert old[line.old - 1] == line.text
        if line.new is not None:
            assert new[line.new - 1] == line.text
