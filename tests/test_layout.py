"""The layout is a promise: imports follow the data, files stay short, libraries stay in their place."""

import ast
import re
from pathlib import Path

import pytest

import qvl_cli

ROOT = Path(qvl_cli.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))
ORDER = re.findall(r"^    (\w+) {2,}\S", qvl_cli.__doc__ or "", re.MULTILINE)
# torch starts in model; rich is drawn with in one file.
BELOW_TORCH = ORDER[ORDER.index("model") :]


def _stage(path: Path) -> str | None:
    """The line of the map a file belongs to; None for the package's own __init__."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return None if parts == ("__init__",) else parts[0]


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module, and whether only for type checking. `from qvl_cli import x` is qvl_cli.x."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_only = True
        if isinstance(node, ast.Import):
            found.extend((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = (
                [f"qvl_cli.{alias.name}" for alias in node.names]
                if node.module == "qvl_cli"
                else [node.module]
            )
            found.extend((str(name), typing_only) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def test_the_map_names_every_module() -> None:
    present = {_stage(path) for path in FILES} - {None}
    assert present <= set(ORDER), f"not on the map: {present - set(ORDER)}"
    assert set(ORDER) <= present, f"only on the map: {set(ORDER) - present}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_above(path: Path) -> None:
    stage = _stage(path)
    if stage is None:
        assert not [name for name, _ in _imports(path) if name.startswith("qvl_cli")]
        return
    for name, _ in _imports(path):
        parts = name.split(".")
        if parts[0] != "qvl_cli" or len(parts) == 1 or parts[1] == "__version__":
            continue
        assert ORDER.index(parts[1]) <= ORDER.index(stage), f"{stage} imports {name} from below"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_where_they_belong(path: Path) -> None:
    used = {name.split(".")[0] for name, typing_only in _imports(path) if not typing_only}
    where = str(path.relative_to(ROOT))
    if where != "cli/console.py":
        assert "rich" not in used
    if _stage(path) not in BELOW_TORCH or where.startswith("cli/"):
        assert not used & {"torch", "transformers"}, f"{where} starts torch"
    if not where.startswith("media/"):
        assert "av" not in used or where.startswith(("tiny/", "evals/", "bench/")), f"{where} decodes"
    assert "click" not in used


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_named_by_what_they_do(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert not {path.stem, *path.relative_to(ROOT).parts} & {
        "utils",
        "util",
        "helpers",
        "helper",
        "common",
        "misc",
    }
    if path.parent != ROOT or path.stem != "__init__":
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "no docstring"
