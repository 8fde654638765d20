"""What the documents take from declarations is current: the page of each method, the tables of the README."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import methods

ROOT = Path(__file__).resolve().parents[2]
REMEDY = "run: make docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_current(generate: ModuleType) -> None:
    assert [str(path.relative_to(ROOT)) for path in generate.stale_documents()] == [], REMEDY
    assert generate.left_over() == [], REMEDY


def test_the_tables_tell_paper_stage_and_numbers_of_modalities(generate: ModuleType) -> None:
    methods, fusions, datasets = generate.tables()
    assert (
        "| [bss](docs/methods/bss.md) | Balance-aware sequence sampling | data | 2 or more | "
        "Guan et al., IJCAI 2025 |" in methods
    )
    assert "| `affine` |" in fusions
    assert "| 2 or more | Perez et al., AAAI 2018 |" in fusions
    assert "| `channel, channel_mode: cen` |" in fusions
    assert "| left, profile (`views`: of left, profile, rows) |" in datasets
    assert "| audio, video | Cao et al., 2014 |" in datasets
    assert "| yours (`modalities`) |" in datasets


def test_tables_need_their_markers_once(generate: ModuleType) -> None:
    page = f"above\n{generate.BEGIN}\nold\n{generate.END}\nbelow\n"
    assert generate.with_tables(page, "new") == f"above\n{generate.BEGIN}\n\nnew\n\n{generate.END}\nbelow\n"
    for wrong in ("no marker", page + page, generate.BEGIN):
        with pytest.raises(ValueError, match="one line"):
            generate.with_tables(wrong, "new")


def test_what_is_not_current_is_named_and_written(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    (tmp_path / "sweeps.yaml").write_text("sweeps: {alone: {method: iprm, datasets: [digits]}}\n")
    monkeypatch.setattr(generate, "shipped_methods", lambda: [methods.get(name) for name in ("bss", "iprm")])
    gone = tmp_path / "docs/methods/gone.md"
    gone.parent.mkdir(parents=True)
    gone.write_text("# gone\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "docs/methods/iprm.md" in capsys.readouterr().out
    assert gone.exists()
    assert generate.main([]) == 0
    assert not gone.exists()
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out.count("gone.md") == 1
