#!/usr/bin/env bash
# Versions: mauve-text 0.4.0 with numpy 2.4.6 and scikit-learn 1.9.1, on a processor with AVX2.
# Guess: texts compared with themselves get the best MAUVE, 1: higher is closer, at most 1 (docstring of compute_mauve).
# Seen: 40 texts in four clusters of 10, each side the same texts: .75.  One text moved: .99997.  Clusters of 11, 9, 10, 10
#       on both sides: 1.  With numpy's vectorised sort switched off, the same three calls give 1, .99997 and 1.
# Why: for equal histograms all 25 inner points of the divergence curve are (1, 1), and the end point (1, 0) ties with them.
#      The area follows `argsort`, which orders ties as the processor's sort happens to; if (1, 0) comes first, a quarter is
#      lost.  With 11/40 rounding puts some points just below 1, and so before (1, 0).  mauve_star does the same.
# Source: mauve/compute_mauve.py of the release (https://github.com/krishnap25/mauve); numpy's page of argsort says that
#         its default is not stable.  No report of it was found.
set -euo pipefail
grep -qw avx2 /proc/cpuinfo || { echo 'no AVX2 here: this processor sorts ties in order, nothing to see'; exit 0; }
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check mauve-text==0.4.0 numpy==2.4.6 scikit-learn==1.9.1 faiss-cpu==1.15.1
cd "$home"

cat > see.py <<'PY'
import numpy as np
from mauve import compute_mauve


def features(sizes):
    """Texts around one axis for each cluster, close to it."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=(sum(sizes), len(sizes)))
    return (np.repeat(np.eye(len(sizes)), sizes, axis=0) + noise).astype(np.float32)


equal, moved, uneven = features([10, 10, 10, 10]), features([11, 9, 10, 10]), features([11, 9, 10, 10])
for p, q in ((equal, equal), (equal, moved), (uneven, uneven)):
    score = compute_mauve(p_features=p, q_features=q, num_buckets=4)
    print(f"{score.mauve:.5f} {score.mauve_star:.5f} {score.frontier_integral:.5f}")
PY

export OMP_NUM_THREADS=1
fast=$("$home/venv/bin/python" see.py 2>errors) || { cat errors; exit 1; }
plain=$(NPY_DISABLE_CPU_FEATURES="X86_V4 X86_V3 AVX512_ICL AVX512_SPR" "$home/venv/bin/python" see.py 2>errors) || { cat errors; exit 1; }
printf 'mauve, mauve_star, frontier_integral of: equal texts; one text moved; equal texts in uneven clusters\n'
printf 'as installed\n%s\nwithout the vectorised sort\n%s\n' "$fast" "$plain"

"$home/venv/bin/python" - "$fast" "$plain" <<'PY'
import sys

fast, plain = ([float(row.split()[0]) for row in text.splitlines()] for text in sys.argv[1:])
assert fast[0] == 0.75 and 0.9999 < fast[1] < 1 and fast[2] == 1, fast
assert all(0.9999 < score <= 1 for score in plain), plain
PY
echo "as described"
