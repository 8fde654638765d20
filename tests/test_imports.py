"""Every module can be imported where no optional package is installed, and the packages say that they are typed.

``python tests/test_imports.py`` checks the packages that are installed, and needs nothing beside them."""

from __future__ import annotations

import importlib
import importlib.resources
import pkgutil
import sys
from pathlib import Path

PACKAGES = ("data", "models", "methods", "sweep")
OPTIONAL = ("av", "cv2", "mlflow", "wandb")
"""Modules of the extras ``media`` and ``loggers``."""
ROOT = Path(__file__).resolve().parents[1]


def import_everything() -> list[str]:
    """Import every module of the four packages as if no optional package were there; list what is wrong."""
    sys.modules.update(dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]  # None: it cannot be imported
    wrong, imported = [], 0
    for package in PACKAGES:
        if not importlib.resources.files(package).joinpath("py.typed").is_file():
            wrong.append(f"{package}: no py.typed")
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        for name in [module.name for module in found if not module.name.endswith("__main__")]:
            try:
                importlib.import_module(name)
                imported += 1
            except ImportError as error:
                wrong.append(f"{name}: {error}")
    return wrong if imported > 200 else [*wrong, f"only {imported} modules found"]


def test_every_module_imports_without_the_optional_packages() -> None:
    from support.forked_programs import printed  # which is not beside the packages where they are installed

    assert printed("import test_imports; print(test_imports.import_everything())", folder=ROOT) == "[]\n"


if __name__ == "__main__":
    del sys.path[0]  # the folder of the tests, where folders bear the packages' names
    sys.exit("\n".join(import_everything()) or 0)
