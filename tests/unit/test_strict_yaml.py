"""What the YAML reader keeps, what it refuses, and that nothing else ever comes out of it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dhcli.jobs import strict_yaml
from dhcli.jobs.strict_yaml import MappingNode, ScalarNode, SequenceNode, StrictYamlError, load, plain

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.fixture(params=PARSERS, ids=lambda parser: parser.__name__, autouse=True)
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "LOADER", request.param)


def problems(data: bytes) -> tuple[str, ...]:
    with pytest.raises(StrictYamlError) as caught:
        load(data, "x.yaml")
    return caught.value.problems


@pytest.mark.parametrize("text", ["no", "1:30", "007", "2024-01-01", "1e3", "0x10", "true", "1_000", ".inf", "="])
def test_scalars_stay_what_was_written(text: str) -> None:
    assert plain(load(f"a: {text}\nb: '{text}'\n".encode(), "x")) == {"a": text, "b": text}


def test_null_only_without_quotes() -> None:
    assert plain(load(b"[~, null, '', 'null', nil]", "x")) == [None, None, "", "null", "nil"]
    assert plain(load(b"a:\nb: 1", "x")) == {"a": None, "b": "1"}
    assert plain(load(b"# nothing but a comment\n", "x")) is None


def test_every_node_knows_its_place() -> None:
    root = load("a: é\nb:\n  - x\n  - {c: d}\n".encode(), "x")
    assert isinstance(root, MappingNode)
    assert (root.line, root.keys["b"].line, root.keys["b"].column) == (1, 2, 1)
    assert root.values["a"] == ScalarNode("é", 1, 4, plain=True)
    items = root.values["b"]
    assert isinstance(items, SequenceNode)
    inner = items.items[1]
    assert isinstance(inner, MappingNode)
    assert (inner.line, inner.keys["c"].column, inner.values["c"].column) == (4, 6, 9)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert plain(load(b"\xef\xbb\xbfa: b", "x")) == {"a": "b"}


def test_everything_refused_is_reported_at_once() -> None:
    text = b"a: &x 1\nb: *x\nc: !!python/object:os.system x\n<<: {k: v}\na: 2\n? [q]\n: 3\n"
    assert problems(text) == (
        "x.yaml:1: anchor '&x': anchors and aliases are not read; remove it",
        "x.yaml:2: alias '*x': repeat the value instead",
        "x.yaml:3: tag 'tag:yaml.org,2002:python/object:os.system': every value is text here; remove the tag",
        "x.yaml:4: merge key '<<': repeat the values instead",
        "x.yaml:5: duplicate key 'a', first on line 1",
        "x.yaml:6: a list or mapping cannot be a key",
    )


def test_what_was_refused_before_a_syntax_error_is_reported_too() -> None:
    first, second = problems(b"a: 1\na: 2\nb: 'open\n")
    assert first == "x.yaml:2: duplicate key 'a', first on line 1"
    assert second.startswith("x.yaml:4:1: not YAML: ")
    assert second.endswith("while scanning a quoted scalar that begins on line 3")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a:\n\t- b\n", "x.yaml:2:1: not YAML: a tab; indent with spaces"),
        (b"a: @b\n", "x.yaml:1:4: not YAML: '@' cannot begin a value; put it in quotes"),
        (b"a: b\nc: d: e\n", "x.yaml:2:5: not YAML: mapping values are not allowed"),
        ("a: b".encode("utf-16"), "x.yaml:1:1: UTF-16 text"),
        ("a: b".encode("utf-16-be"), "x.yaml:1:1: control character U+0000"),
        (b"a: b\nc: \xff\n", "x.yaml:2:4: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbf\xc3\xa9: \xff", "x.yaml:1:4: byte 0xff is not UTF-8"),
        (b"\x7fELF\x02\x01", "x.yaml:1:1: control character U+007F"),
        (b"a: 1\n---\nb: 2\n", "x.yaml:2: a second document starts here"),
        (b"%TAG ! tag:x,2024:\n---\n!y z\n", "x.yaml:3: tag 'tag:x,2024:y'"),
        (b"%YAML 3.0\n---\na\n", "x.yaml:1:1: not YAML: found incompatible YAML document"),
        (b'"\\UFFFFFFFF"', "x.yaml"),
    ],
)
def test_syntax(data: bytes, found: str) -> None:
    (problem,) = problems(data)
    assert problem.startswith(found)


@pytest.mark.parametrize("deep", [b"[" * 200_000, b"- " * 200_000, b"{a: " * 200_000, b"? " * 200_000])
def test_depth_is_limited_before_a_tree_is_built(deep: bytes) -> None:
    with pytest.raises(StrictYamlError) as caught:
        load(deep, "x.yaml")
    assert caught.value.code == "manifest.limit"
    assert caught.value.problems == ("x.yaml:1: nested deeper than 32 levels",)


def test_the_deepest_allowed_nesting() -> None:
    depth = strict_yaml.MAX_DEPTH
    assert isinstance(load(b"[" * depth + b"]" * depth, "x"), SequenceNode)


def test_size_and_number_of_values_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "MAX_NODES", 5)
    assert isinstance(load(b"[a, b, c, d]", "x"), SequenceNode)
    assert problems(b"[a, b,\nc, d, e]") == ("x.yaml:2: more than 5 values; split the file",)
    assert problems(b"#" * (strict_yaml.MAX_BYTES + 1)) == ("x.yaml: larger than 16 MiB; split it into several files",)


def test_the_list_of_problems_has_an_end() -> None:
    assert len(problems(b"- &a b\n" * 1000)) == strict_yaml.MAX_PROBLEMS


@given(st.binary(max_size=200) | st.text("[]{}:,-?&*!|>'\"%@ \t\n#<~ab0\\é\U0001f600", max_size=60).map(str.encode))
def test_any_bytes_give_a_tree_or_problems_with_the_name(data: bytes) -> None:
    found: tuple[str, ...] = ("x.yaml",)
    try:
        plain(load(data, "x.yaml"))
    except StrictYamlError as error:
        found = error.problems
    assert found
    assert all(problem.startswith("x.yaml") for problem in found)
