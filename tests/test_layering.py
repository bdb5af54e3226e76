"""Imports run one way: tests -> analysis -> multires -> torch; and importing is quick work."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = {  # what each module of multires may import of multires
    "errors": set(),
    "_kernel": set(),
    "_transform": {"_kernel"},
    "spaces": {"errors"},
    "pooling": {"errors", "spaces"},
    "haar": {"errors", "spaces", "_transform"},
    "idx": {"errors"},
    "download": {"errors"},
    "data": {"errors", "spaces", "idx", "download"},
    "patches": {"errors", "data"},
    "configs": {"errors", "plain"},
    "plain": {"errors"},
    "files": {"errors"},
    "unet": {"errors", "configs", "memory", "pooling", "spaces"},
    "tasks": {"configs", "pooling"},
    "checkpoints": {"errors", "files"},
    "flat": set(),
    "state": {"errors", "checkpoints", "files", "flat"},
    "memory": {"errors"},
    "finite": set(),
    "training": {"errors", "configs", "files", "finite", "flat", "memory", "state"},
    "diffusion": {"errors", "pooling", "spaces"},
    "brownian": {"errors", "pooling", "spaces"},
    "exact": {"errors", "brownian", "diffusion", "haar"},
    "gaussians": set(),
    "hvae_configs": {"errors", "configs", "plain"},
    "likelihoods": {"errors", "gaussians"},
    "cells": {"diffusion", "gaussians", "hvae_configs"},
    "hvae": {"errors", "memory", "cells", "hvae_configs", "likelihoods", "pooling", "spaces"},
    "vdvae": {"errors", "checkpoints", "hvae", "hvae_configs"},
    "bounds": {"errors", "hvae"},
    "linear_hvae": {"hvae", "hvae_configs"},
    "pretrained": {"errors", "configs", "hvae_configs", "plain", "files", "checkpoints", "unet", "hvae"},
}


def imports(path: Path) -> set[str]:
    """Every module a file imports, names from packages included."""
    return imported(ast.parse(path.read_text()))


def imported(tree: ast.AST) -> set[str]:
    """The same of a syntax tree."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "multires").glob("[!_]*.py")), ROOT / "multires" / "_transform.py"], ids=lambda path: path.stem
)
def test_multires_imports_only_what_lies_below(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("multires.")}
    assert ours & set(BELOW) <= BELOW[path.stem]


def test_every_module_of_multires_has_its_place() -> None:
    assert {path.stem for path in (ROOT / "multires").glob("*.py")} - {"__init__"} == set(BELOW)


@pytest.mark.parametrize("path", sorted((ROOT / "multires").rglob("*.py")), ids=lambda path: path.stem)
def test_multires_never_imports_analysis_matplotlib_or_pywavelets(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"analysis", "matplotlib", "tests", "ptwt"}
    assert path.stem == "data" or "pywt" not in roots


def test_the_oracle_imports_nothing_of_ours() -> None:
    roots = {name.split(".")[0] for name in imports(ROOT / "analysis" / "oracle.py")}
    assert roots <= {"itertools", "fractions", "numpy", "pywt"}


def test_modules_of_analysis_import_each_other_in_no_circle() -> None:
    """A circle works or not by which module comes first. Imports within functions come later, a package comes with its parts."""
    paths = sorted((ROOT / "analysis").rglob("*.py"))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = imported_at_once(path) & set(names)
        targets |= {parent for target in targets for parent in parents(target)}
        graph[name] = targets - {name, *parents(name)}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def imported_at_once(path: Path) -> set[str]:
    """What a module's own lines import, not those of its functions, nor those that only type checkers read."""
    lines = ast.Module([node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    return imported(lines)


def parents(name: str) -> set[str]:
    """The packages that a module lies in, the outermost left out."""
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(2, len(parts))}


def test_importing_multires_is_light() -> None:
    code = """
import sys
import multires, multires.spaces, multires.pooling, multires.haar, multires.data
heavy = {"pywt", "matplotlib", "analysis", "scipy", "sklearn", "PIL", "rich", "tyro", "pooch", "requests"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_submodules_are_attributes() -> None:
    code = "import multires; print(multires.haar.analysis.__name__, hasattr(multires, 'nothing'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "analysis False\n"


def test_help_does_not_import_torch() -> None:
    code = """
import sys
from analysis.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"
    assert "verify" in done.stdout
