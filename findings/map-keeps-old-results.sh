#!/usr/bin/env bash
# Versions: datasets 5.2.0, Dataset.map with its cache.
# Guess: after the mapped function is edited, the next run maps again: "any change" to what it uses changes its hash, says
#        https://huggingface.co/docs/datasets/about_cache.
# Seen: a function that stands in the script is mapped again.  The same function imported from a module of one's own is
#       not: the second run prints version 2 and returns version 1's texts, without a word.
# Why: the hash is one of the function's pickle, and an imported function is pickled as its name.  A fix in a cleaning module
#      so never reaches the texts that a model is trained or scored on; load_from_cache_file=False, or a new_fingerprint
#      with the module's version in it, helps.
# Source: https://github.com/huggingface/datasets/issues/3297 (open) and pull/8614 (open)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 dill==0.4.1 numpy==2.4.6
cd "$home"
export HF_HOME="$home/cache" HF_HUB_OFFLINE=1
printf 'one\ntwo\n' > texts.txt

run() {  # one run of a project whose cleaning is at version $1
    printf 'VERSION = %s\n\n\ndef clean(row):\n    return {"clean": row["text"] + " v%s"}\n' "$1" "$1" > cleaning.py
    cat > train.py <<PY
import datasets
from cleaning import VERSION, clean

datasets.disable_progress_bars()
texts = datasets.load_dataset("text", data_files="texts.txt", split="train")
imported = texts.map(clean)["clean"][:]


def clean(row):
    return {"clean": row["text"] + " v$1"}


own = texts.map(clean)["clean"][:]
print(f"version {VERSION}; imported function: {imported}; function of the script: {own}")
PY
    "$home/venv/bin/python" -B train.py
}

first=$(run 1)
second=$(run 2)
printf 'run 1: %s\nrun 2: %s\n' "$first" "$second"
[ "$first" = "version 1; imported function: ['one v1', 'two v1']; function of the script: ['one v1', 'two v1']" ]
[ "$second" = "version 2; imported function: ['one v1', 'two v1']; function of the script: ['one v2', 'two v2']" ]
echo "as described"
