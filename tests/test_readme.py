"""The README's tree is made from the packages' docstrings: `python tests/test_readme.py` writes it."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
SECTION = re.compile(r"(?<=<!-- tree -->\n```text\n).*?(?=```\n<!-- /tree -->)", re.DOTALL)
WIDTH = 118


def tree() -> str:
    """The packages in the order of docs/architecture.md, one line each."""
    layers = re.findall(
        r"\w+", (ROOT / "docs" / "architecture.md").read_text().split("    errors <")[1].split("\n\n")[0]
    )
    package = ROOT / "src" / "tacit"
    rooms = sorted(package.glob("*/__init__.py"), key=lambda path: layers.index(path.parent.name))
    lines = []
    for room in rooms:
        lines.append(_line(room, f"{room.parent.name}/", 0))
        if room.parent.name in ("evaluation", "engines"):
            lines += [_line(inner, f"{inner.parent.name}/", 1) for inner in sorted(room.parent.glob("*/__init__.py"))]
    return "\n".join(lines) + "\n"


def _line(path: pathlib.Path, name: str, depth: int) -> str:
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0].rstrip(".")
    start = f"{'  ' * depth}{name}".ljust(18)
    while len(start) + len(first) > WIDTH:  # too long: leave out the last clause
        first = re.match(r"(.*)(?:[,.:;] | \(| and | with | that | by | plus )", first).group(1)
    return start + first


def test_it_fits_on_a_few_screens():
    assert len(README.read_text().splitlines()) <= 130


def test_the_tree_names_every_package_with_its_own_line():
    found = SECTION.search(README.read_text())
    assert found, "README.md has lost its <!-- tree --> section"
    assert found.group() == tree(), "the tree in README.md is old: run `python tests/test_readme.py`"


def test_links_to_files_of_the_repository_lead_somewhere():
    text = README.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


if __name__ == "__main__":
    README.write_text(SECTION.sub(lambda _: tree(), README.read_text()))
