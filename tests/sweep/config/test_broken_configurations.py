"""Every configuration of broken_configurations.txt is refused with exactly the lines that it expects there.

A block is a sweeps.yaml, then lines ``override: key=value``, then ``expect: problem`` (without the names that there
are, which grow; what a method, a dataset or an encoder says in its own words is cut by ``...``)."""

from pathlib import Path

import pytest

from sweep.config import ConfigError, load

BLOCKS = Path(__file__).with_name("broken_configurations.txt").read_text(encoding="utf-8").split("=== ")[1:]


def prefixed(block, prefix):
    return [line.removeprefix(prefix) for line in block.splitlines() if line.startswith(prefix)]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0].replace(" ", "-") for block in BLOCKS])
def test_a_broken_configuration_is_refused_with_place_and_remedy(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = block.partition("\n")[2].splitlines(keepends=True)
    text = "".join(line for line in body if not line.startswith(("override: ", "expect: ")))
    Path("sweeps.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load("sweeps.yaml", None, prefixed(block, "override: "))
    found = [line.partition("; there are: ")[0] for line in str(caught.value).splitlines()]
    expected = prefixed(block, "expect: ")
    assert [_cut(line, like) for line, like in zip(found, expected, strict=True)] == expected


def _cut(line, like):
    return line[: len(like) - 3] + "..." if like.endswith("...") else line


def test_the_corpus_is_large():
    assert len(BLOCKS) > 100
