#!/usr/bin/env bash
# Versions: submitit 1.5.4, local executor, CPython 3.11: a job that runs a program, and stops it in `checkpoint`.
# Guess: `checkpoint` terminates the program and waits for it with a timeout; the program ends at once, so does the wait.
# Seen: the wait takes its whole timeout and raises TimeoutExpired, and poll() says that the program still runs, while the
#       system has it as ended (state Z, a zombie).  On a cluster these are seconds of the grace before the kill.
# Why: submitit calls `checkpoint` inside the signal's handler, that is on top of the job's own `wait()`, which holds the lock
#      around waitpid and cannot go on before the handler returns.
# Source: https://github.com/facebookincubator/submitit/blob/main/docs/checkpointing.md (called when the signal
#         comes, it says, and not that it is inside the handler); _wait and _internal_poll in CPython's subprocess.py.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4 cloudpickle==3.1.2 typing_extensions==4.16.0
cd "$home"

cat > job.py <<'PY'
import json
import subprocess
import sys
import time
from pathlib import Path


class Job:
    """A program that would run for a minute; the job waits for it."""

    def __init__(self, note: str) -> None:
        self.note = Path(note)

    def __call__(self) -> int:
        self.program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        return self.program.wait()

    def checkpoint(self) -> None:
        self.program.terminate()
        start = time.monotonic()
        try:
            result = str(self.program.wait(timeout=3))
        except subprocess.TimeoutExpired:
            result = "TimeoutExpired"
        state = Path(f"/proc/{self.program.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        seen = {"wait": result, "poll": self.program.poll(), "seconds": time.monotonic() - start, "state": state}
        self.note.write_text(json.dumps(seen))
        return None  # no second attempt
PY

cat > see.py <<'PY'
import json
from pathlib import Path

import submitit
from job import Job

executor = submitit.LocalExecutor("logs")
executor.update_parameters(timeout_min=1, signal_delay_s=40)  # the signal comes after 20 s
try:
    executor.submit(Job("note")).result()
except submitit.core.utils.FailedJobError as error:
    assert "checkpoint function returned None" in str(error), error
seen = json.loads(Path("note").read_text())
print(f"wait(timeout=3): {seen['wait']} after {seen['seconds']:.1f} s; poll(): {seen['poll']}; the system's state: {seen['state']}")
assert seen["wait"] == "TimeoutExpired" and seen["poll"] is None and seen["seconds"] >= 3 and seen["state"] == "Z"
PY

PYTHONPATH="$home" timeout 300 "$home/venv/bin/python" see.py
echo "as described"
