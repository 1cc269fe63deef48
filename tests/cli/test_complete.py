"""Completion as the shells ask for it, versions, and the command's place."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import output
from harness.cli.app import app


def completed(line: str, shell: str = "bash") -> list[str]:
    """The words that a shell gets for a line up to the cursor; bash takes `=` for a word of its own."""
    words = shlex.split(line.replace("=", " = ")) if shell == "bash" else line.split(" ")
    words += [""] if line.endswith(" ") and shell == "bash" else []
    asked = {
        "bash": {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    runner = CliRunner(env={"_HARNESS_COMPLETE": f"complete_{shell}", **asked})
    result = runner.invoke(app, [], prog_name="harness")
    assert result.exit_code in (0, None), result.output
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("harness pl", "plan"),
        ("harness export", "export-model"),
        ("harness ls met", "metrics"),
        ("harness plan de", "demo"),
        ("harness run paper", "paper-text"),
        ("harness info sequence", "sequence_match"),
        ("harness info chi2", "chi2_mixture"),
        ("harness info mau", "mauve"),
        ("harness evaluate dir --benchmark la", "language"),
        ("harness sensitivity te", "text"),
        ("harness score a.txt --metrics div", "diversity"),
        ("harness score a.txt --metrics length,mau", "length,mauve"),
        ("harness run demo tr", "trainer="),
        ("harness run demo trainer=", "mle"),
        ("harness run demo trainer=sequ", "sequence_match"),
        ("harness tune demo trainer=mle,b", "mle,bc"),
        ("harness plan demo benchmark=lang", "language"),
        ("harness plan demo --see", "--seeds"),
    ],
)
def test_bash_completes(line: str, among: str) -> None:
    assert among in completed(line)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete(shell: str) -> None:
    assert "demo" in " ".join(completed("harness plan de", shell))
    assert "trainer=mle,bc" in " ".join(completed("harness run demo trainer=mle,b", shell))


def test_grid_files_and_folders_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grids" / "deep").mkdir(parents=True)
    for name in ("a.yaml", "grids/b.yml", "grids/c.txt", ".hidden.yaml"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert completed("harness plan a") == ["alpha", "arithmetic", "a.yaml"]
    assert completed("harness plan grids/") == ["grids/b.yml", "grids/deep/"]
    assert completed("harness plan nosuch/") == [""]


def test_scripts_for_completion_are_printed_and_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = {"HOME": str(tmp_path)}
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    shown = CliRunner(env=home).invoke(app, ["--show-completion"], prog_name="harness")
    assert (shown.exit_code, "complete -o default -F _harness_completion harness" in shown.stdout) == (0, True)
    installed = CliRunner(env=home).invoke(app, ["--install-completion"], prog_name="harness")
    assert (installed.exit_code, "completion installed" in installed.stdout) == (0, True)
    assert "_HARNESS_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "harness.sh").read_text()


def test_completion_and_version_load_nothing_heavy() -> None:
    """Three questions in a fresh process, with less than a second of processor time for each."""
    program = """
import sys, time
from typer.testing import CliRunner
from harness.cli.app import app
for words in ("harness ls me", "harness plan de", "harness info s"):
    environment = {"_HARNESS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}
    assert CliRunner(env=environment).invoke(app, [], prog_name="harness").stdout
print(CliRunner().invoke(app, ["--version"]).stdout)
print(time.process_time() < 3, sorted({"torch", "pandas", "sqlalchemy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("sequencematch-harness 0.")
    assert lines[1] == f"Python {sys.version.split()[0]}"
    assert [line.partition(" ")[0] for line in lines[2:4]] == ["torch", "transformers"]
    assert lines[-1] == "True []"


def test_the_version_of_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("harness.cli.app.version", missing)
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, "torch is not installed" in result.stdout) == (0, True)


def test_the_command_is_named_as_it_must_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the path; beside the interpreter, here, elsewhere, with a blank; another one on the path; none at all."""
    own = tmp_path / "my work" / ".venv" / "bin"
    own.mkdir(parents=True)
    for name in ("python", "harness"):
        (own / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own / "python"))
    monkeypatch.setenv("PATH", str(own))
    assert output.command() == "harness"
    other = tmp_path / "other"
    other.mkdir()
    (other / "harness").touch(mode=0o755)
    for path in ("/nowhere", str(other)):
        monkeypatch.setenv("PATH", path)
        monkeypatch.chdir(tmp_path / "my work")
        assert output.command() == ".venv/bin/harness"
        monkeypatch.chdir(other)
        assert output.command() == f"'{own}/harness'"
    (own / "harness").unlink()
    assert output.command() == f"'{own}/python' -m harness"


def test_make_install_ends_with_what_to_type() -> None:
    """Nothing is installed: make says what it would do; the last of it is the sentence, inside another make, too."""
    root = Path(__file__).parents[2]
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for environment in (alone, alone | {"MAKELEVEL": "1", "MAKEFLAGS": "w"}):

        def shown(target: str, environment: dict[str, str] = environment) -> list[str]:
            make = ["make", "--no-print-directory", "-n", "-o", ".venv/installed", target]
            return subprocess.run(make, cwd=root, env=environment, capture_output=True, text=True).stdout.splitlines()

        assert ".venv/bin/harness" in shown("install")[-1]
        for target in ("demo", "test"):
            assert "source" not in "\n".join(shown(target))
    assert os.access(root / "README.md", os.R_OK)
