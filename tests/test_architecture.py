"""The directions in which this house may import, read from the source; one breach names file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
        "harness.actions",
        "harness.registry",
        "harness.errors",
        "harness.search",
    ),
    "benchmarks": ("benchmarks", "harness.plugins", "harness.records", "harness.registry", "harness.errors"),
    "dashboard": (
        "dashboard",
        "harness.errors",
        "harness.printable",
        "harness.registry",
        "harness.replaying",
        "harness.report",
        "harness.samples",
        "harness.stats",
        "harness.store",
        "harness.store_url",
    ),
}
# The files that know a library; everybody else asks them.
ONLY_IN = {
    "transformers": {"harness/attention.py", "harness/models.py"},
    "peft": {"harness/lora.py"},
    "datasets": {"benchmarks/hub.py"},
    "sqlalchemy": {
        "harness/store.py",
        "harness/queue.py",
        "harness/database.py",
        "harness/ledger.py",
        "harness/engines.py",
        "harness/report/readings.py",
    },
    "mauve": {"harness/metrics/mauve.py"},
    "ruamel": {"harness/yaml_file.py"},
    "typer": {"harness/cli.py", "harness/verbs"},
    "streamlit": {"dashboard"},
    "submitit": {"harness/launch.py"},
    "psycopg": set(),
}
# What listing, planning and reading need: importing it must load no torch.
TORCH_FREE = (
    "harness",
    "harness.cli",
    "harness.config",
    "harness.describe",
    "harness.errors",
    "harness.grid",
    "harness.model_config",
    "harness.plan",
    "harness.plugins",
    "harness.progress",
    "harness.provenance",
    "harness.records",
    "harness.registry",
    "harness.replaying",
    "harness.samples",
    "harness.scoring",
    "harness.search",
    "harness.settings",
    "harness.stats",
    "harness.fingerprint",
    "harness.store",
    "harness.supervisor",
    "harness.text_files",
    "harness.yaml_file",
    *(name for name in NAMES if name.startswith(("harness.report", "dashboard"))),
    "benchmarks.grids",
    "benchmarks.hub",
    "benchmarks.language",
    "benchmarks.laws",
    "benchmarks.text",
)


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


@pytest.mark.parametrize("name", TORCH_FREE)
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
        "import a.b\nfrom typing import TYPE_CHECKING\nfrom harness import grid\nif TYPE_CHECKING:\n    import torch\n"
        "try:\n    import c\nexcept ImportError:\n    pass\ndef f():\n    from d import e\nclass G:\n    import h\n"
    )
    everything = [module for module, _ in imports(ast.parse(source))]
    assert everything == ["a.b", "typing", "harness.grid", "torch", "c", "d", "h"]
    assert [module for module, _ in imports(ast.parse(source), lazy=False)] == [
        "a.b",
        "typing",
        "harness.grid",
        "c",
        "h",
    ]
