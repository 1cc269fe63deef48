"""The directions in which this house may import, read from the source; one breach names file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "trainers", "benchmarks", "dashboard")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

# Which of our own modules a package may import, itself aside.
MAY_IMPORT = {
    "harness": ("harness",),
    "trainers": (
        "trainers",
        "harness.plugins",
        "harness.actions.batch",
        "harness.config.search_space",
        "harness.registry",
        "harness.errors",
    ),
    "benchmarks": ("benchmarks", "harness.plugins", "harness.records", "harness.registry", "harness.errors"),
    "dashboard": (
        "dashboard",
        "harness.analysis",
        "harness.config.keys",
        "harness.errors",
        "harness.registry",
        "harness.report",
        "harness.stats",
        "harness.storage",
        "harness.system.printable",
    ),
}
# The packages of the core from the ground up; a package imports from rows before its own, and from nothing else.
LAYERS = (
    ("errors", "hashing", "records"),
    ("registry", "seeding", "config", "actions", "system"),
    ("plugins", "storage", "stats"),
    ("models", "metrics", "analysis"),
    ("generation", "report"),
    ("data",),
    ("training", "grids"),
    ("evaluation",),
    ("runner",),
    ("runs",),
    ("cli",),
    ("__main__",),
)
KNOW_NO_STORE = ("actions", "data", "evaluation", "generation", "metrics", "models", "plugins", "training")
# The files that know a library; everybody else asks them.
ONLY_IN = {
    "transformers": {"harness/models"},
    "peft": {"harness/models"},
    "tokenizers": {"harness/models"},
    "datasets": {"benchmarks/hub.py"},
    "sqlalchemy": {"harness/storage"},
    "mauve": {"harness/metrics/mauve.py"},
    "ruamel": {"harness/grids/yaml_file.py"},
    "typer": {"harness/cli"},
    "streamlit": {"dashboard"},
    "submitit": {"harness/runner/launch.py"},
    "psycopg": set(),
}
# The modules that load torch when they are imported, and whole packages of them; every other one must not.
LOADS_TORCH = (
    "harness.models",
    "harness.generation",
    "harness.training",
    "harness.actions.batch",
    *(f"harness.data.{one}" for one in ("noise_sources", "stream", "windows")),
    *(f"harness.evaluation.{one}" for one in ("controls", "evaluate", "exact", "features", "likelihood", "marginal")),
    *(f"harness.evaluation.{one}" for one in ("perturbation", "sensitivity", "temperature", "token_scorer")),
    *(f"harness.runner.{one}" for one in ("policy_source", "preload", "run")),
    *(f"harness.runs.{one}" for one in ("load", "rescore")),
    "harness.system.device",
    "benchmarks.speed",
)
FREE = sorted(name for name in NAMES if not any(f"{name}.".startswith(f"{loads}.") for loads in LOADS_TORCH))


def imports(tree: ast.AST, *, lazy: bool = True) -> Iterator[tuple[str, int]]:
    """(module, line) of what is imported; with `lazy=False` only what importing the file itself runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the whole name"
            for alias in node.names:  # `from harness import grid` imports harness.grid
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in NAMES else str(node.module)), node.lineno
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            if lazy:
                yield from imports(node)
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, lazy=lazy)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name: str) -> None:
    if name.startswith("benchmarks.speed."):
        return  # timings look at everything
    allowed = MAY_IMPORT[name.partition(".")[0]]
    for module, line in imports(parsed(NAMES[name])):
        if module.partition(".")[0] in PACKAGES:
            assert within(module, allowed), f"{NAMES[name]}:{line} imports {module}; allowed: {', '.join(allowed)}"


CORE = {name: path for name, path in NAMES.items() if name.startswith("harness.")}


def package(module: str) -> str:
    """The first part of a module's name below `harness`; "" for `harness` itself, whose names are loaded lazily."""
    return module.removeprefix("harness").removeprefix(".").partition(".")[0]


def row(name: str) -> int:
    """The row of `LAYERS` in which a package stands; the public names, loaded from anywhere, are in none."""
    assert name, "import from the module that has it, not from `harness`"
    return next(number for number, packages in enumerate(LAYERS) if name in packages)


def inner(name: str) -> Iterator[tuple[str, int]]:
    """(module, line) of what a module of the core imports of the core: late and for types only, too."""
    return ((module, line) for module, line in imports(parsed(CORE[name])) if module.partition(".")[0] == "harness")


@pytest.mark.parametrize("name", CORE)
def test_a_package_imports_only_from_rows_before_its_own(name: str) -> None:
    here = package(name)
    for module, line in inner(name):
        there = package(module)
        assert there == here or row(there) < row(here), f"{CORE[name]}:{line}: {module} is not below {here}"


def test_no_imports_go_in_a_circle() -> None:
    """Not even inside a package: taking away modules without imports, again and again, leaves none."""
    left = {name: {module for module, _ in inner(name) if module in CORE} - {name} for name in CORE}
    while ground := [name for name, needs in left.items() if not needs & set(left)]:
        for name in ground:
            del left[name]
    assert sorted(left) == []


def test_from_the_command_line_to_the_ground_is_at_most_twelve_packages() -> None:
    needs: dict[str, set[str]] = {}
    for name in CORE:
        needs.setdefault(package(name), set()).update(package(module) for module, _ in inner(name))
    depth: dict[str, int] = {"": 0}
    for here in (one for packages in LAYERS for one in packages):
        depth[here] = 1 + max((depth[there] for there in needs[here] - {here, ""}), default=0)
    assert depth["cli"] <= 12


@pytest.mark.parametrize("name", [name for name in CORE if package(name) in KNOW_NO_STORE])
def test_training_and_evaluation_know_no_store(name: str) -> None:
    for module, line in inner(name):
        assert package(module) != "storage", f"{CORE[name]}:{line} imports {module}; take values instead"


def test_a_package_has_at_most_twelve_modules() -> None:
    """But for the shelf of metrics, one file a family."""
    for folder in {path.parent for path in CORE.values()}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 12 or folder.name == "metrics", f"{folder} has {len(modules)} modules; split it"


@pytest.mark.parametrize("name", NAMES)
def test_one_library_one_file(name: str) -> None:
    here = NAMES[name].relative_to(ROOT).as_posix()
    for module, line in imports(parsed(NAMES[name])):
        files = ONLY_IN.get(module.partition(".")[0])
        known = files is None or any(here == place or here.startswith(f"{place}/") for place in files)
        assert known or here.startswith("benchmarks/speed/"), f"{here}:{line} imports {module}; only {files} may"


@pytest.mark.parametrize("kind", ["trainers", "benchmarks", "metrics"])
def test_siblings_do_not_import_each_other(kind: str) -> None:
    """Removing a trainer, benchmark or metric is removing one file."""
    siblings = {point.module for point in entry_points(group=f"sequencematch_harness.{kind}")} & set(NAMES)
    assert siblings
    for name in siblings:
        for module, line in imports(parsed(NAMES[name])):
            assert module == name or module not in siblings, f"{NAMES[name]}:{line} imports its sibling {module}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("harness.cli.commands.")])
def test_commands_do_not_import_each_other(name: str) -> None:
    """Code that two commands need is in `harness/cli`."""
    for module, line in imports(parsed(NAMES[name])):
        assert not module.startswith("harness.cli.commands"), f"{NAMES[name]}:{line} imports its sibling {module}"


@pytest.mark.parametrize("name", FREE)
def test_what_lists_and_reads_loads_no_torch(name: str) -> None:
    seen, todo = set(), [(name, name)]
    while todo:
        module, trail = todo.pop()
        assert module.partition(".")[0] not in ("torch", "transformers"), trail
        if module in NAMES and module not in seen:
            seen.add(module)
            todo += [(inner, f"{trail} -> {inner}") for inner, _ in imports(parsed(NAMES[module]), lazy=False)]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_opens_with_a_sentence_and_ends_within_400_lines(name: str) -> None:
    text = NAMES[name].read_text()
    opening = (ast.get_docstring(parsed(NAMES[name])) or "").partition("\n\n")[0]
    assert len(opening) >= 15, f"{NAMES[name]} does not open with a docstring"
    assert opening.rstrip("`'\"").endswith((".", "?", ":")), f"{NAMES[name]}: {opening!r} is not a sentence"
    assert text.count("\n") <= 400, f"{NAMES[name]} has {text.count(chr(10))} lines; split it"
    assert NAMES[name].stem not in ("utils", "helpers", "misc", "common")


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_tests_are_short_files_that_open_with_a_sentence(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), f"{path} does not open with a docstring"
    assert path.read_text().count("\n") <= 400, f"{path} is over 400 lines; split it"


def test_the_reader_of_imports_sees_every_form() -> None:
    source = (
        "import a.b\nfrom typing import TYPE_CHECKING\nfrom harness.grids import grid\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "try:\n    import c\nexcept ImportError:\n    pass\ndef f():\n    from d import e\nclass G:\n    import h\n"
    )
    everything = [module for module, _ in imports(ast.parse(source))]
    assert everything == ["a.b", "typing", "harness.grids.grid", "torch", "c", "d", "h"]
    assert [module for module, _ in imports(ast.parse(source), lazy=False)] == [
        "a.b",
        "typing",
        "harness.grids.grid",
        "c",
        "h",
    ]
