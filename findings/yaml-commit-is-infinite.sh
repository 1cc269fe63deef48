#!/usr/bin/env bash
# Versions: PyYAML 6.0.3 (YAML 1.1) and ruamel.yaml 0.19.1 (YAML 1.2): an abbreviated git commit in a run's configuration.
# Guess: text that one library writes as text is text for the other; a commit is not a number.
# Seen: PyYAML writes the text 58899e012345 without quotes and reads it back as text.  ruamel.yaml reads it as the number
#       58899 * 10^12345, that is inf, and writes .inf: the commit is gone.  0e12345 becomes 0.0, and 0123489 becomes 123489.
#       ruamel.yaml's own output has quotes, and both libraries read that as text.
# How often: one in 47 abbreviations of seven characters, (5 * 10^6 + 10^6 - 8^6) / 16^7 = 2.1 %.
# Why: YAML 1.1 wants a dot in a number with an exponent and takes a leading 0 for octal; YAML 1.2 does neither.
# Source: https://yaml.org/spec/1.2.2/#10214-floating-point and https://github.com/yaml/pyyaml/issues/860 (open)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check PyYAML==6.0.3 ruamel.yaml==0.19.1
cd "$home"

cat > see.py <<'PY'
import io
import math
import random

import yaml
from ruamel.yaml import YAML


def written(value: object) -> str:
    stream = io.StringIO()
    YAML().dump(value, stream)
    return stream.getvalue().strip()


for commit in ("58899e012345", "123e4567", "0e12345", "0123489"):
    old = yaml.safe_dump({"commit": commit}).strip()
    read = YAML(typ="safe", pure=True).load(old)["commit"]
    again = written({"commit": read})
    new = written({"commit": commit})
    print(f"{commit}: PyYAML writes {old!r} and reads {yaml.safe_load(old)['commit']!r}; ruamel.yaml reads {read!r} and")
    print(f"    writes {again!r}; of the text itself it writes {new!r}")
    assert old == f"commit: {commit}" and yaml.safe_load(old)["commit"] == commit
    assert read == 123489 if commit == "0123489" else read == 0 or math.isinf(read)
    assert commit not in again
    assert yaml.safe_load(new)["commit"] == YAML(typ="safe", pure=True).load(new)["commit"] == commit

draw = random.Random(0)
commits = ["".join(draw.choices("0123456789abcdef", k=7)) for _ in range(20_000)]
text = yaml.safe_dump(commits)
assert yaml.safe_load(text) == commits
lost = [one for one, read in zip(commits, YAML(typ="safe", pure=True).load(text)) if read != one]
share, expected = len(lost) / len(commits), (5 * 10**6 + 10**6 - 8**6) / 16**7
print(f"of 20,000 random abbreviations that PyYAML wrote, ruamel.yaml reads {share:.2%} as numbers; expected {expected:.2%}")
assert abs(share - expected) < 0.004
PY

"$home/venv/bin/python" see.py
echo "as described"
