"""The documentation says what is so: its Python runs, its verbs exist, its API page names every package."""

import inspect
import pathlib
import re
from typing import Any

import pytest

from tacit.cli import VERBS
from tacit.testing import PreferenceModelConformance

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
VERB = re.compile(r"(?:^\$ |`|^)tacit ([a-z][a-z-]*)", re.MULTILINE)
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def run_snippets(page: str) -> dict[str, Any]:
    """The names that the page's Python blocks leave behind, run one after the other as one script."""
    text = (DOCS / page).read_text()
    blocks = list(PYTHON.finditer(text))
    assert blocks, f"docs/{page} has lost its Python"
    names: dict[str, Any] = {"__name__": f"docs.{page}"}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(DOCS / page), "exec"), names)
    return names


@pytest.mark.parametrize("page", ["quickstart.md", "your-data.md", "concepts.md", "api.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_snippets(page)


def test_the_method_that_is_added_keeps_the_contract(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suites = [
        value
        for value in run_snippets("adding.md").values()
        if isinstance(value, type)
        and issubclass(value, PreferenceModelConformance)
        and value.__module__ == "docs.adding.md"
    ]
    assert len(suites) == 1
    checks = [name for name in dir(suites[0]) if name.startswith("test_")]
    assert "test_damaged_folders_are_refused" in checks
    for name in checks:
        check = getattr(suites[0](), name)
        folder = tmp_path / name
        folder.mkdir()
        check(**({"tmp_path": folder} if "tmp_path" in inspect.signature(check).parameters else {}))


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_a_page_names_exists(page: str) -> None:
    named = set(VERB.findall((DOCS / page).read_text()))
    assert named <= set(VERBS), f"{page} names {sorted(named - set(VERBS))}"


def test_verbs_are_found_where_pages_name_them() -> None:
    named = set(VERB.findall((DOCS / "quickstart.md").read_text()))
    assert named == {"train-reward", "evaluate", "infer", "score", "audit"}


def test_the_api_page_names_every_package_with_public_names() -> None:
    package = ROOT / "src" / "tacit"
    found = {".".join(path.parent.relative_to(package.parent).parts) for path in package.rglob("__init__.py")}
    listed = set(re.findall(r"automodule:: ([\w.]+)", (DOCS / "api.md").read_text()))
    assert found - listed == {"tacit", "tacit.cli"}


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()) if "://" not in link]
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_paper_map_names_what_stands_in_its_files() -> None:
    rows = [line.split("|")[2:5] for line in (DOCS / "paper-map.md").read_text().splitlines() if line.startswith("| ")]
    missing = []
    for name, _, files in rows[1:]:
        named = [ROOT / "src" / "tacit" / file for file in re.findall(r"`([\w/.]+)`", files)]
        paths = [path if path.exists() else ROOT / path.relative_to(ROOT / "src" / "tacit") for path in named]
        assert paths, f"no file beside {name}"
        sources = [path for place in paths for path in (place.glob("*.py") if place.is_dir() else [place])]
        text = "".join(f"{path.stem} {path.read_text()}" for path in sources)
        words = re.findall(r"\w+", " ".join(re.findall(r"`([\w.]+)", name)))
        missing += [(word, files.strip()) for word in words if not re.search(rf"\b{word}\b", text)]
    assert missing == []
