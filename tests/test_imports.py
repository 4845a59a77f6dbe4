"""The layers of the project, enforced on the source: who may import whom.

metrics <- core (evaluate, pictures_*) <- reproductions; pgbench.results <- reports; the command
line may import everything, inside its commands.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "pgbench.metrics": ROOT / "metrics",
    "pgbench.reproductions": ROOT / "reproductions",
    "pgbench.reports": ROOT / "reports",
    "pgbench": ROOT / "pgbench",
}
SOURCES = {
    f"{package}.{path.stem}".removesuffix(".__init__"): path
    for package, folder in FOLDERS.items()
    for path in sorted(folder.glob("*.py"))
}
WITHOUT_TORCH = {"pgbench.results", "pgbench.atomic", "pgbench.jsonlines", "pgbench.config"}


def is_command_line(module: str) -> bool:
    return module == "pgbench.__main__" or module.startswith("pgbench.cli")


def layer(module: str) -> str:
    """metrics, reproductions, reports, cli or core."""
    if is_command_line(module):
        return "cli"
    name = ".".join(module.split(".")[:2])
    return name.removeprefix("pgbench.") if name in FOLDERS and name != "pgbench" else "core"


def imported(node: ast.AST) -> Iterator[str]:
    """The modules an import statement may name: `from a import b` names a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import: write the full name"
        assert node.module is not None
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        known = [name for name in submodules if name in SOURCES]
        yield from known
        if len(known) < len(submodules):
            yield node.module


def at_top(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: no functions, nothing for type checking only."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def may_measure_or_read(module: str) -> bool:
    """evaluate, and what reads pictures (docs/adr/0004)."""
    return module == "pgbench.evaluate" or module.startswith("pgbench.pictures_")


def forbidden(module: str, name: str) -> bool:
    """Whether `module` may not import `name`, anywhere in its source."""
    here, there = layer(module), layer(name)
    if name.split(".")[0] in {"metrics", "reproductions", "reports"}:
        return True  # a second copy of the package
    if name.split(".")[0] != "pgbench" or here == "cli":
        return False
    if there in {"cli", "reproductions"} and there != here:
        return True
    if here == "core":
        return there == "reports" or (there == "metrics" and not may_measure_or_read(module))
    if here == "metrics":
        return there != "metrics"
    if here == "reports":
        return there != "reports" and name != "pgbench.results"
    return there == "reports"


def forbidden_at_top(module: str, name: str) -> bool:
    """Whether `name` would make importing `module` slow."""
    top = name.split(".")[0]
    if is_command_line(module):
        known = top in sys.stdlib_module_names or top == "click"
        return not (known or is_command_line(name) or name == "pgbench")
    light = layer(module) == "reports" or module in WITHOUT_TORCH
    return light and top in {"torch", "torchvision", "torch_fidelity", "tensorboard"}


def violations(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    anywhere = [name for node in ast.walk(tree) for name in imported(node)]
    top = [name for node in at_top(tree) for name in imported(node)]
    return [f"{module} imports {name}" for name in anywhere if forbidden(module, name)] + [
        f"{module} imports {name} at its top" for name in top if forbidden_at_top(module, name)
    ]


@pytest.mark.parametrize("module", SOURCES)
def test_layers_hold(module: str) -> None:
    assert violations(module, SOURCES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pgbench.metrics.swd", "import pgbench.config"),
        ("pgbench.metrics.swd", "from pgbench import __version__"),
        ("pgbench.training", "def f():\n    from pgbench.metrics import swd"),
        ("pgbench.training", "from pgbench.reports.build import build"),
        ("pgbench.training", "from pgbench import reproductions"),
        ("pgbench.results", "import torch.nn"),
        ("pgbench.reproductions.table1", "from pgbench.reports import table1"),
        ("pgbench.reproductions.table1", "from pgbench import cli_report"),
        ("pgbench.reports.table1", "from pgbench.config import RunConfig"),
        ("pgbench.reports.table1", "from pgbench import results, atomic"),
        ("pgbench.reports.table1", "try:\n    import torch\nexcept ImportError:\n    pass"),
        ("pgbench.reports.table1", "import reports.aggregate"),
        ("pgbench.cli_report", "import pandas"),
        ("pgbench.cli_report", "from pgbench.results import load_runs"),
    ],
)
def test_a_breach_is_noticed(module: str, source: str) -> None:
    assert violations(module, source) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pgbench.evaluate", "from pgbench.metrics import swd"),
        ("pgbench.pictures_folder", "from pgbench.metrics.decoding import decode_image"),
        ("pgbench.metrics.swd", "from pgbench.metrics.pyramid import levels"),
        ("pgbench.reproductions.table1", "from pgbench.config import RunConfig"),
        ("pgbench.reports.build", "from pgbench.results import load_runs"),
        ("pgbench.cli", "import click\nfrom pgbench import __version__, cli_report"),
        ("pgbench.cli", "def f():\n    import torch\n    from pgbench.reports import build"),
        ("pgbench.cli", "if TYPE_CHECKING:\n    from pgbench.config import RunConfig"),
    ],
)
def test_what_is_allowed_is_not_refused(module: str, source: str) -> None:
    assert violations(module, source) == []


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (sorted(filter(is_command_line, SOURCES)), {"torch", "pandas", "numpy", "pydantic"}),
        (sorted(WITHOUT_TORCH), {"torch", "pandas", "scipy", "matplotlib"}),
        (["pgbench.reports.build"], {"torch", "torchvision", "torch_fidelity"}),
    ],
)
def test_imports_stay_light(modules: list[str], heavy: set[str]) -> None:
    modules = [module for module in modules if module != "pgbench.__main__"]  # would run it
    program = f"import sys, {', '.join(modules)}; print(*({heavy} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
