"""Damage of every kind to checkpoints and databases: nothing damaged is used silently, and it is always named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from resuming import training
from stored import ME, RESULTS, config, running, step

from harness.cli.doctor import examine
from harness.errors import StoreError, UnknownName
from harness.runs.fingerprint import content
from harness.storage.store import Store
from harness.system.files import write_durably
from harness.training import checkpoint


@pytest.mark.prove("damaged checkpoints refused", cases=1000, seconds=20)
def test_a_thousand_damaged_checkpoints_are_never_used(tmp_path: Path) -> None:
    """Truncated, one bit flipped, a page zeroed, or another cell's: 250 of each are refused, whole ones are read."""
    torch.set_num_threads(1)
    saved = []
    for number, name in enumerate(("mle", "sequence_match")):
        run = training({"name": name})
        for _ in range(3 + number):
            run.advance()
        saved.append(checkpoint.write(run.state(), tmp_path, f"checkpoints/{name}/1-{run.step}.safetensors"))
    rng, used = random.Random(0), 0
    wholes = [(tmp_path / one.path).read_bytes() for one in saved]
    for trial in range(1000):
        which = trial % 2
        damaged = bytearray(wholes[which])
        kind = trial // 2 % 4
        if kind == 0:
            del damaged[rng.randrange(len(damaged)) :]
        elif kind == 1:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            page = rng.randrange(len(damaged) // 4096) * 4096
            if not any(damaged[page : page + 4096]):
                page = 0
            damaged[page : page + 4096] = bytes(4096)
        else:
            damaged = bytearray(wholes[1 - which])
        path = tmp_path / saved[which].path
        path.write_bytes(damaged)
        used += checkpoint.read(saved[which], tmp_path) is not None
    assert used == 0
    for one, whole in zip(saved, wholes, strict=True):
        write_durably(whole, tmp_path / "partial", tmp_path / one.path)
        state = checkpoint.read(one, tmp_path)
        assert state is not None
        assert state.to_bytes() == whole


@pytest.mark.prove("damaged databases named", cases=300, seconds=60)
def test_three_hundred_damaged_databases_are_named(tmp_path: Path) -> None:
    """Cut off, pages zeroed or filled with noise: no traceback, and the doctor names what does not read as before."""
    folder = tmp_path / "whole"
    with Store(f"sqlite:///{folder}/runs.db") as store:
        for seed in range(20):
            run_id = running(store, seed)
            store.log(run_id, ME, [step(number) for number in range(30)])
            store.finish(run_id, ME, **RESULTS)
        store.enqueue("g", [config(99)])
        expected = content(store)
    whole = (folder / "runs.db").read_bytes()
    rng, named = random.Random(0), 0
    for trial in range(300):
        damaged = bytearray(whole)
        page = rng.randrange(len(whole) // 4096) * 4096
        if trial % 3 == 0:
            del damaged[page + rng.randrange(4096) :]
        else:
            damaged[page : page + 4096] = bytes(4096) if trial % 3 == 1 else rng.randbytes(4096)
        url = f"sqlite:///{folder}/{trial}.db"
        (folder / f"{trial}.db").write_bytes(damaged)
        problems = [finding for finding in examine(url, deep=True) if finding.state == "problem"]
        if problems:
            named += 1
            assert all(finding.found for finding in problems)
            continue
        try:
            with Store.open(url, read_only=True) as reader:
                same = content(reader) == expected
        except (StoreError, UnknownName):
            same = False
        assert same, f"trial {trial}: damaged, and the doctor found nothing"
    assert named > 250
