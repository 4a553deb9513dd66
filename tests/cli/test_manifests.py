"""Files of pipelines: what they mean, and where each mistake in them stands."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from signalbox_cli import manifests
from signalbox_cli.failures import UsageFailure

CONFIG = "sources:\n  a: {type: demo_logs}\n"


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def problems(root: Path, **files: str) -> list[str]:
    """What is wrong, with paths from the folder on."""
    found = manifests.read(folder(root, **files))[1]
    return [str(problem).removeprefix(f"{root}/") for problem in found]


def test_a_configuration_may_stand_in_the_file_or_beside_it(tmp_path: Path) -> None:
    """As a text, as a mapping with its comments, in a flow, or in a file of its own, which is none of pipelines."""
    text = (
        "name: one\nconfig: |\n  sources:\n    a: {type: demo_logs}\n"
        "---\n"
        "name: two\nselector: zone=a\nlogLevel: off\nconfig:\n  # why\n  sources:\n    a: {type: demo_logs}\n"
        "---\n---\n"
        "name: 3\nconfig: {sources: {a: {type: demo_logs}}}\n"
    )
    files = {"all_yaml": text, "z__four_yaml": "name: four\nconfigFile: v.yaml\n", "z__v_yaml": CONFIG}
    found, wrong = manifests.read(folder(tmp_path, **files, **{".git__x_yaml": "broken: ["}))
    assert wrong == []
    one, two, three, four = found
    assert [each.name for each in found] == ["one", "two", "3", "four"]
    assert one.config_yaml == four.config_yaml == CONFIG
    assert two.config_yaml == f"# why\n{CONFIG}"
    assert yaml.safe_load(three.config_yaml) == yaml.safe_load(CONFIG)
    assert (two.selector, two.log_level) == ("zone=a", "off"), "off is no boolean here"
    assert (one.environment, one.selector, one.log_level) == (None, "", None)
    lines = [str(each.config_problem(2, "a", "x")).removeprefix(f"{tmp_path}/") for each in found]
    assert lines == [
        "all.yaml:4: component a: x",
        "all.yaml:11: component a: x",
        "all.yaml:17: component a: x",
        "z/v.yaml:2: component a: x",
    ]


def test_each_mistake_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    """All of them at once."""
    text = (
        "nam: x\nname: [a]\nlogLevel: inf\nconfigFile: ../secret\n"
        "---\n"
        "name: b\nname: c\nconfig: ''\nconfigFile: gone.yaml\n"
        "---\n"
        "- d\n"
        "---\n"
        "name: e\nconfigFile: gone.yaml\nselector: {a: b}\n"
    )
    (tmp_path.parent / "secret").write_text("x")
    assert problems(tmp_path, a_yaml=text, broken_yaml="a: [", stray_yaml=CONFIG, text_yaml="hello") == [
        "a.yaml:1: nam: it is none of environment, name, selector, logLevel, config, configFile. Did you mean name?",
        "a.yaml:2: name: it is a text, not a list or a mapping",
        "a.yaml:2: name: it is one line of 1 to 100 characters",
        "a.yaml:3: logLevel: it is one of trace, debug, info, warn, error, off. Did you mean info?",
        "a.yaml:4: configFile: it names no file below the folder that is applied",
        "a.yaml:7: name: it stands in line 6 already",
        "a.yaml:8: config: give either config or configFile",
        "a.yaml:11: it is no mapping with the fields of a pipeline",
        "a.yaml:14: configFile: gone.yaml: it cannot be read: No such file or directory",
        "a.yaml:15: selector: it is a text, not a list or a mapping",
        "broken.yaml:1: it is no YAML: expected the node content, but found '<stream end>'",
        "stray.yaml:1: sources: this looks like a configuration of Vector that no other file names as its configFile",
        "stray.yaml:1: name: it is missing",
        "stray.yaml:1: config: give either config or configFile",
        "text.yaml:1: it is no mapping with the fields of a pipeline",
    ]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Somebody else's folder sends no file of this machine to the server."""
    (tmp_path / "secret").write_text("x")
    root = folder(tmp_path / "fleet", a_yaml="name: a\nconfigFile: link\n")
    (root / "link").symlink_to(tmp_path / "secret")
    assert "it names no file below" in str(manifests.read(root)[1][0])


def test_two_of_one_name_are_one_too_many(tmp_path: Path) -> None:
    """In one environment; two environments may have one each."""
    one = f"name: x\nconfig: {{{'sources: {}'}}}\n"
    assert problems(tmp_path, a_yaml=one, b_yaml=one) == [
        f'b.yaml:1: name: "x" stands in {tmp_path}/a.yaml:1 already'
    ]
    assert problems(tmp_path, a_yaml=one, b_yaml=f"environment: other\n{one}") == []


def test_an_empty_folder_is_no_wish_for_nothing(tmp_path: Path) -> None:
    """A wrong path with --prune would otherwise delete everything."""
    with pytest.raises(UsageFailure, match="holds no file"):
        manifests.read(tmp_path)


CONFIGURATIONS = st.one_of(
    st.sampled_from(
        [
            "",
            "\n",
            "a: 1",
            "a: 1\n",
            "a: 1\n\n",
            "  a: 1\n",
            "# c\n\na: |\n  x\n   y\n",
            "a: 1\r\n",
            "a:\t1\n",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
)


@given(CONFIGURATIONS, st.sampled_from(["", "zone=a,!spot"]), st.sampled_from([None, "off"]))
def test_what_is_written_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, config: str, selector: str, log_level: str | None
) -> None:
    """To the letter, so that applying what was exported changes nothing."""
    content = {"configYaml": config, "nodeSelector": selector, "logLevel": log_level}
    root = tmp_path_factory.mktemp("written")
    (root / "x.yaml").write_text(manifests.written("production", "n: 'x'", content), newline="")
    (found,), wrong = manifests.read(root)
    assert wrong == []
    assert (found.environment, found.name) == ("production", "n: 'x'")
    assert (found.config_yaml, found.selector, found.log_level) == (config, selector, log_level)
