"""Which tests hold which claim: those marked with it, read from their source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def found() -> dict[str, list[str]]:
    """Claim id to the tests marked with it, as file::function."""
    tests: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
                        id = ast.literal_eval(decorator.args[0])
                        tests.setdefault(id, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return tests
