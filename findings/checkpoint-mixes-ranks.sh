#!/usr/bin/env bash
# Versions: torch 2.13.0, torch.distributed.checkpoint (DCP), two processes with gloo on the CPU.
# Guess: what a rank saved under a key is what this rank loads again; or, where ranks disagree, saving is an error; or at
#        least one rank wins as a whole.
# Seen: each rank saves its own `position`, `random` and `seed`.  Both ranks load rank 0's position beside rank 1's random
#       state: a state that no rank ever had.  Nothing warns, at saving or at loading.
# Why: a plain tensor or value is taken for a copy that all ranks share, and duplicates are dropped key by key, for the rank
#      that has less to write so far.  What differs between ranks needs a key with the rank in it, or a DTensor.
# Source: https://github.com/pytorch/pytorch/issues/120356 (by design, since a check would cost) and #146566 (open); the
#         page of torch.distributed.checkpoint.save does not say it.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"${PYTHON:-python3}" -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$home"

cat > see.py <<'PY'
import os
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp

KEYS = ("position", "random", "seed")


def state(rank: int) -> dict[str, object]:
    """Each value says whose it is."""
    return {"position": torch.tensor([rank]), "random": torch.full((8,), rank), "seed": rank}


def train(rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meet", rank=rank, world_size=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dcp.save(state(rank), checkpoint_id="saved")
        loaded = state(-1)
        dcp.load(loaded, checkpoint_id="saved")
    spoken = [str(one.message) for one in said if "rank" in str(one.message) or "duplicate" in str(one.message)]
    owners = {key: int(torch.as_tensor(loaded[key]).flatten()[0]) for key in KEYS}
    seen = [None, None]
    dist.all_gather_object(seen, (owners, spoken))
    dist.destroy_process_group()
    if rank == 0:
        for reader, (owners, spoken) in enumerate(seen):
            print(f"rank {reader} loads the values of ranks {owners}; warnings: {spoken}")
        assert seen[0] == seen[1], "the ranks load different values"
        assert set(seen[0][0].values()) == {0, 1}, "one rank's values won as a whole"
        assert seen[0][1] == [], "there is a warning"


if __name__ == "__main__":
    mp.spawn(train, nprocs=2)
PY

OMP_NUM_THREADS=1 timeout 300 "$home/venv/bin/python" see.py
echo "as described"
