"""The public face of the package: names resolve, the tables agree, importing it is light."""

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import tacit
from tacit.lazy import homes
from tacit.registry import Registry


@pytest.mark.parametrize("name", tacit.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(tacit, name) is not None
    assert name in dir(tacit)


PACKAGES = [path for path in Path(tacit.__file__).parent.rglob("__init__.py") if "lazy(__name__" in path.read_text()]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_lazy_packages_list_what_they_import_and_no_name_hides_a_module(path: Path) -> None:
    package = ".".join(["tacit", *path.parent.relative_to(Path(tacit.__file__).parent).parts])
    module = importlib.import_module(package)
    held = {"__version__"} | {name for name in module.__all__ if isinstance(getattr(module, name), Registry)}
    assert set(module.__all__) - held == set(homes(str(path))) - held
    modules = {child.name for child in pkgutil.iter_modules([str(path.parent)])}
    assert not modules & set(homes(str(path)))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_version_is_that_of_the_installed_package() -> None:
    assert tacit.__version__ == version("tacit")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Chioce'"):
        tacit.Chioce  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, tacit, tacit.cli; print(*sorted({'torch', 'numpy', 'pydantic', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
