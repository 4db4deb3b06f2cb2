"""The shape of the code: imports run along the layers of docs/architecture.md, and some things appear nowhere."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tacit"
FILES = sorted(path for path in SOURCE.rglob("*.py"))


def read_layers() -> list[str]:
    """The chain `errors < files < ...`, which may run over several indented lines."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    chain = re.search(r"^    (\w+ <[\w\s<]*\w)$", text, re.MULTILINE)
    assert chain, "docs/architecture.md no longer holds the chain of layers"
    return [name.strip() for name in chain[1].split("\n\n")[0].split("<")]


LAYERS = read_layers()


def layer_of(path: Path) -> str:
    """`rewards` for src/tacit/rewards/heads.py, `errors` for src/tacit/errors.py, `` for the package's own face."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first.startswith("__") else first


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of all modules imported anywhere in a file, also inside functions and under TYPE_CHECKING.

    Of `from tacit import errors` it is `tacit.errors`; of `from tacit import Choice`, `tacit.Choice`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "tacit" else (module,)


def faults(path: Path, source: str) -> list[str]:
    """What is wrong with one file, as sentences."""
    found = []
    tree = ast.parse(source)
    layer = layer_of(path)
    package = ".".join(["tacit", *path.relative_to(SOURCE).parent.parts])
    for module in imported_modules(tree, package):
        top, _, rest = module.partition(".")
        if top in ("pickle", "cPickle", "dill", "cloudpickle", "joblib"):
            found.append(f"imports {top}")
        if top != "tacit" or not layer:
            continue
        target = rest.split(".")[0]
        if target in LAYERS:
            if LAYERS.index(target) > LAYERS.index(layer):
                found.append(f"{layer} imports {module}, a later layer")
        elif layer != "cli":
            found.append(f"imports {module or 'tacit'} through the package's face; import it from where it lives")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "print" and layer != "cli":
            found.append("calls print")
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append("uses torch.load")
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False":
            found.append("sets trust_remote_code")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_keeps_the_rules(path: Path) -> None:
    assert faults(path, path.read_text()) == []


def test_every_package_is_a_layer_and_every_layer_exists() -> None:
    present = {layer_of(path) for path in FILES} - {""}
    assert present == set(LAYERS)


def circle(sources: dict[str, str]) -> list[str]:
    """Files that import each other in a circle, by module name; packages' own faces only list what they hold."""
    graph = {
        name: set(imported_modules(ast.parse(source), name.rpartition(".")[0])) for name, source in sources.items()
    }
    try:
        TopologicalSorter({name: seen & set(graph) for name, seen in graph.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_two_files_import_each_other() -> None:
    inside = {path: path.relative_to(SOURCE.parent).with_suffix("") for path in FILES if path.stem != "__init__"}
    assert circle({".".join(place.parts): path.read_text() for path, place in inside.items()}) == []


def test_a_circle_is_found_also_where_only_types_are_imported() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tacit.rewards.b import B"
    assert circle({"tacit.rewards.a": typed, "tacit.rewards.b": "from tacit.rewards.a import A"})


@pytest.mark.parametrize(
    ("where", "source", "fault"),
    [
        ("choices/a.py", "from tacit.rewards import RewardModel", "a later layer"),
        ("choices/a.py", "def f():\n    import tacit.cli", "a later layer"),
        ("choices/a.py", "from ..rewards.heads import Head", "a later layer"),
        ("choices/a.py", "from tacit import rewards", "a later layer"),
        ("choices/a.py", "from tacit import Choice", "the package's face"),
        ("choices/a.py", "import tacit", "the package's face"),
        ("choices/a.py", "print(1)", "calls print"),
        ("cli/a.py", "import pickle", "imports pickle"),
        ("cli/a.py", "import torch\ntorch.load('x')", "uses torch.load"),
        ("cli/a.py", "load('x', trust_remote_code=True)", "trust_remote_code"),
    ],
)
def test_a_breach_is_found(where: str, source: str, fault: str) -> None:
    assert any(fault in found for found in faults(SOURCE / where, source))


def test_what_is_allowed_is_not_a_breach() -> None:
    allowed = "from tacit.errors import TacitError\nfrom .protocol import PreferenceModel\nfrom ..choices import Choice"
    assert faults(SOURCE / "rewards" / "a.py", allowed) == []
    assert faults(SOURCE / "cli" / "a.py", "import tacit\nprint(tacit.__version__)") == []
