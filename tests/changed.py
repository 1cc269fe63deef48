"""Print the tests of what differs from HEAD, for `make check`; a changed module without a test is named on stderr.

A changed test is itself one.  For a changed `harness/PACKAGE/NAME.py` it is `tests/PACKAGE/test_NAME.py` or, where that
file does not exist, the test in `tests/PACKAGE` that names the module most often; `trainers`, `benchmarks` and
`dashboard` likewise.  Effects farther away are for `make test`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("harness", "trainers", "benchmarks", "dashboard")


def nearest(module: Path) -> Path | None:
    """The test of one module, by a path relative to the root."""
    folder = ROOT / "tests" / (module.parent.relative_to("harness") if module.parts[0] == "harness" else module.parent)
    while not folder.is_dir():
        folder = folder.parent
    if folder == ROOT / "tests":
        return None
    own = folder / f"test_{module.stem}.py"
    if own.exists():
        return own
    times = {
        test: len(re.findall(rf"\b{module.stem}\b", test.read_text())) for test in sorted(folder.glob("test_*.py"))
    }
    best = max(times, key=lambda test: times[test], default=None)
    return best if best and times[best] else None


def main() -> None:
    found: dict[Path, None] = {}
    for command in ("diff --name-only --diff-filter=d HEAD", "ls-files --others --exclude-standard"):
        lines = subprocess.run(["git", *command.split()], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for path in map(Path, lines.splitlines()):
            if path.suffix != ".py":
                continue
            if path.name.startswith("test_"):
                found[ROOT / path] = None
            elif path.parts[0] in CODE and path.name != "__init__.py":
                test = nearest(path)
                if test is None:
                    print(f"{path} has no test of its own: `make test` runs those that use it", file=sys.stderr)
                else:
                    found[test] = None
    print(*(path.relative_to(ROOT) for path in found), sep="\n")


if __name__ == "__main__":
    main()
