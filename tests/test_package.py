"""The public face of the package: names resolve, the tables agree, importing it is light."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import tacit


@pytest.mark.parametrize("name", tacit.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(tacit, name) is not None
    assert name in dir(tacit)


def test_all_homes_and_type_checking_imports_agree() -> None:
    tree = ast.parse(Path(tacit.__file__).read_text())
    imports = [
        (alias.asname or alias.name, node.module)
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert dict(imports) == tacit._HOMES
    assert set(tacit.__all__) == {*tacit._HOMES, "__version__"}


def test_version_is_that_of_the_installed_package() -> None:
    assert tacit.__version__ == version("tacit")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Chioce'"):
        tacit.Chioce  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, tacit, tacit.cli; print(*sorted({'torch', 'numpy', 'pydantic', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
