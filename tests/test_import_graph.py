"""Imports point downwards: what a layer may know is written here, and no module is part of a cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import anatpaste_gpu

PACKAGE = Path(anatpaste_gpu.__file__).parent
ROOT = PACKAGE.name
#: From the bottom to the top; a layer imports from itself and from those before it.
LAYERS = (
    (
        "_extension",
        "arrays",
        "checks",
        "cuda_arrays",
        "devices",
        "draws",
        "extras",
        "files",
        "lazy",
        "notice",
        "operator_params",
        "operator_settings",
        "setting_checks",
        "setting_types",
        "settings",
        "standard_streams",
    ),
    ("ops", "torch_backend"),
    ("segment",),
    ("augment",),
    ("data",),
    ("scorers",),
    (anatpaste_gpu.__name__,),  # what `import anatpaste_gpu` brings
    ("distributed",),
    ("methods",),
    ("evaluation",),
    ("runs",),
    ("export",),
    ("training",),
    ("api",),
    ("cluster",),
    ("report",),
    ("reproduce",),
    ("serve",),
    ("cli",),
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FIGURES = {"matplotlib", "jinja2", "PIL.ImageDraw"}
PATHS = {
    ".".join((ROOT, *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in PACKAGE.rglob("*.py")
}
MODULES = {name.removesuffix(".__init__"): path for name, path in PATHS.items()}


def imported(path: Path, *, only_at_once: bool = False) -> Iterator[tuple[str, int]]:
    """Modules that a file imports, and in which line; `only_at_once` leaves out what functions import.

    Of the package itself it leaves out what is there for type checkers: its names are found when asked for.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in tree.body if only_at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = (ROOT, *path.parent.relative_to(PACKAGE).parts) if node.level else ()
            above = package[: len(package) + 1 - node.level]
            source = ".".join((*above, *filter(None, [node.module])))
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (inner if inner in MODULES else source), node.lineno


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ROOT


def test_every_module_has_a_layer() -> None:
    assert {layer_of(name) for name in MODULES} == set(RANKS)


@pytest.mark.parametrize("layer", list(RANKS))
def test_imports_point_downwards(layer: str) -> None:
    upwards = [
        f"{path.relative_to(PACKAGE)}:{line} imports {target}"
        for name, path in MODULES.items()
        if layer_of(name) == layer
        for target, line in imported(path)
        if target.split(".")[0] == ROOT and RANKS[layer_of(target)] > RANKS[layer]
    ]
    assert not upwards, upwards


def test_the_ranks_know_nothing_of_ours() -> None:
    """What is shared by processes is tensors and numbers, so a layer's move never touches it."""
    known = {
        target
        for name, path in MODULES.items()
        if layer_of(name) == "distributed"
        for target, _ in imported(path)
        if target.split(".")[0] == ROOT
    }
    assert {layer_of(name) for name in known} <= {"distributed"}


def test_only_the_report_draws() -> None:
    drawing = {
        layer_of(name)
        for name, path in MODULES.items()
        for target, _ in imported(path)
        if target in FIGURES or target.split(".")[0] in FIGURES
    }
    assert drawing == {"report"}


def test_no_module_is_part_of_a_cycle() -> None:
    """Of imports that are carried out at once; a package stands for its __init__."""
    edges = {
        name: {
            target
            for target, _ in imported(path, only_at_once=True)
            if target in MODULES and target != name and not name.startswith(f"{target}.")
        }
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join((*way[way.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_upward_imports_are_found(tmp_path: Path) -> None:
    """The reader of imports sees those within functions, and names that are modules."""
    file = tmp_path / "module.py"
    file.write_text(
        "import torch.nn\nfrom anatpaste_gpu import files\n"
        "def f():\n    from anatpaste_gpu.report import theme\n"
    )
    found = [name for name, _ in imported(file)]
    assert found == ["torch.nn", "anatpaste_gpu.files", "anatpaste_gpu.report.theme"]
    assert [name for name, _ in imported(file, only_at_once=True)] == found[:2]
