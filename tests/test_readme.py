"""The README's tree is made from the module docstrings: `python tests/test_readme.py` writes it, this test compares."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
SECTION = re.compile(r"(?<=<!-- tree -->\n```text\n).*?(?=```\n<!-- /tree -->)", re.DOTALL)
WIDTH = 118


def tree() -> str:
    """The packages in the order of docs/architecture.md, one line per file."""
    layers = re.findall(
        r"\w+", (ROOT / "docs" / "architecture.md").read_text().split("    errors <")[1].split("\n\n")[0]
    )
    package = ROOT / "src" / "tacit"
    lines = _folder(package, 0)
    for child in sorted(package.glob("*/__init__.py"), key=lambda path: layers.index(path.parent.name)):
        lines += _folder(child.parent, 1)
    return "\n".join(lines) + "\n"


def _folder(folder: pathlib.Path, depth: int) -> list[str]:
    lines = [_line(folder / "__init__.py", f"{folder.name}/", depth)]
    lines += [_line(path, path.name, depth + 1) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    if depth:
        for child in sorted(folder.glob("*/__init__.py")):
            lines += _folder(child.parent, depth + 1)
    return lines


def _line(path: pathlib.Path, name: str, depth: int) -> str:
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0].rstrip(".")
    start = f"{'  ' * depth}{name}".ljust(28)
    while len(start) + len(first) > WIDTH:  # too long: leave out the last clause
        first = re.match(r"(.*)(?:[,.:;] | \(| and | with | that | by | plus )", first).group(1)
    return start + first


def test_the_tree_names_every_file_with_its_own_line():
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
