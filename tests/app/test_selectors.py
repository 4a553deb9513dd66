"""Selectors mean what they mean to Kubernetes, and a refusal points at the place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import selectors
from app.errors import InvalidInputError

LABELS = {"zone": "a", "tier": "web", "gpu": "", "example.org/team": "blue"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "zone=a",
        "zone==a",
        " zone = a , tier = web ",
        "zone!=b",
        "absent!=b",
        "zone in (a,b)",
        "zone notin (b,c)",
        "absent notin (b)",
        "gpu",
        "gpu=",
        "gpu in ()",
        "!spot",
        "! spot",
        "example.org/team=blue",
        "zone=a,tier!=db,zone in (a,b),gpu,!spot",
    ],
)
def test_a_selector_matches(text: str) -> None:
    """`!=` and `notin` also match where the key is absent; all parts must hold; empty matches all."""
    assert selectors.parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "zone=b",
        "zone!=a",
        "zone in (b,c)",
        "zone notin (a)",
        "zone=",
        "spot",
        "!gpu",
        "absent=a",
        "absent in (a)",
        "absent=",
        "zone=a,spot",
        "zone=A",
    ],
)
def test_a_selector_does_not_match(text: str) -> None:
    """A key that is absent equals nothing, not even the empty value."""
    assert not selectors.parse(text).matches(LABELS)


@pytest.mark.parametrize("word", ["in", "notin"])
def test_an_operator_may_be_a_key_and_a_value(word: str) -> None:
    """Where a key or a value is expected, `in` is a word like any other."""
    assert selectors.parse(f"{word} in ({word})").matches({word: word})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("zone=a,", "at the end"),
        (",zone=a", 'character 1, ","'),
        ("zone=a=b", 'character 7, "="'),
        ("zone in a", 'character 9, "a"'),
        ("zone in (a", "at the end"),
        ("zone in (a b)", 'character 12, "b"'),
        ("zone>1", 'character 5, ">"'),
        ("!zone=a", 'character 6, "="'),
        ("zone tier", 'character 6, "tier"'),
        ("=a", 'character 1, "="'),
        ("a=b,-x=c", "character 5"),
        ("zone in (a))", 'character 12, ")"'),
        ("a/b/c", "character 1"),
        ("Upper.Case/x", "character 1"),
        ("a" * 64, "63 characters"),
        ("a=" + "b" * 254, "253 characters"),
        ("a=b," * 2000, "4096 characters"),
    ],
)
def test_a_refusal_points_at_the_place(text: str, place: str) -> None:
    """The sentence says what was expected and where, and the field is the one that the caller named."""
    with pytest.raises(InvalidInputError) as caught:
        selectors.parse(text, field="label")
    assert place in caught.value.sentence
    assert [detail["field"] for detail in caught.value.details] == ["label"]


keys = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,10}[A-Za-z0-9])?", fullmatch=True)
values = st.from_regex(r"[A-Za-z0-9_.:-]{0,10}", fullmatch=True)
requirements = st.one_of(
    st.builds(
        selectors.Requirement,
        keys,
        st.sampled_from([selectors.Operator.IN, selectors.Operator.NOT_IN]),
        st.frozensets(values, min_size=1, max_size=4),
    ),
    st.builds(
        selectors.Requirement, keys, st.sampled_from([selectors.Operator.EXISTS, selectors.Operator.ABSENT])
    ),
)


@given(st.lists(requirements, max_size=5))
def test_what_is_printed_parses_to_the_same(parts: list[selectors.Requirement]) -> None:
    """`str()` of any selector is a spelling of it."""
    selector = selectors.Selector(tuple(parts))
    assert selectors.parse(str(selector)) == selector


@given(keys, st.frozensets(values, min_size=1, max_size=3), st.dictionaries(keys, values, max_size=3))
def test_not_in_is_the_opposite_of_in(key: str, wanted: frozenset[str], labels: dict[str, str]) -> None:
    """For any labels exactly one of `in` and `notin`, and of `key` and `!key`, holds."""
    listed = ",".join(wanted)
    for one, other in ((f"{key} in ({listed})", f"{key} notin ({listed})"), (key, f"!{key}")):
        assert selectors.parse(one).matches(labels) != selectors.parse(other).matches(labels)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that people type raises anything but a refusal."""
    refusals = []
    try:
        selectors.parse(text)
    except InvalidInputError as error:
        refusals = [error.details]
    assert all(refusals)


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({f"k{number}": "" for number in range(65)}, "labels"),
        ({f"k{number}": "v" * 250 for number in range(40)}, "labels"),
        ({"a" * 64: ""}, "labels." + "a" * 64),
        ({"": ""}, "labels."),
        ({"a b": ""}, "labels.a b"),
        ({"k": "v" * 254}, "labels.k"),
        ({"k": "a\nb"}, "labels.k"),
    ],
)
def test_labels_that_no_selector_could_name_are_refused(labels: dict[str, str], field: str) -> None:
    """At most 64 labels and 8 KiB, keys of 63 and values of 253 characters (hazard 30)."""
    with pytest.raises(InvalidInputError) as caught:
        selectors.check_labels(labels)
    assert caught.value.details[0]["field"] == field


def test_ordinary_labels_are_accepted() -> None:
    """Up to the limits, prefixes and values of any printable characters included."""
    selectors.check_labels(
        {f"k{number}": "é" for number in range(63)} | {"example.org/" + "a" * 63: "v" * 253}
    )
