"""A configuration from elsewhere: what is left out is said, what cannot be kept is refused, the rest stays."""

import pytest

from app import vector_file
from app.errors import InvalidInputError

REST = """\
# where it comes from
sources:
  a: {type: demo_logs, format: json}
sinks:
  b: {type: blackhole, inputs: [a]}
"""


def test_what_the_agent_decides_is_left_out_and_said() -> None:
    """With its line; comments above the next option stay with that one."""
    found = vector_file.read(
        f"data_dir: /var/lib/vector\napi:\n  enabled: true\n  # for us\n\n{REST}".encode()
    )
    assert found.config_yaml == REST
    assert [note.partition(" was")[0] for note in found.notes] == ["data_dir (line 1)", "api (line 2)"]
    assert vector_file.read(REST.replace("\n", "\r\n").encode()).config_yaml == REST
    assert vector_file.read(REST.encode()).notes == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfe", "no UTF-8"),
        (b"[sources.a]\ntype = 'file'\n", "TOML"),
        (b"- a\n", "mapping"),
        (b"provider: {type: http}\nsources: {}\n", "provider"),
        (b"{data_dir: /x, sources: {}}\n", "by hand"),
        (b"#" * (512 * 1024 + 1), "larger than 512 KiB"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_a_sentence(content: bytes, why: str) -> None:
    """Nothing is dropped in silence."""
    with pytest.raises(InvalidInputError, match=why):
        vector_file.read(content)
