"""A model directory's content is a part of a run: a changed one is another run, and the commands say so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_policies import tiny_policy
from typer.testing import CliRunner

from harness.cli.app import app
from harness.config.run import RunConfig
from harness.grids.check import check
from harness.grids.grid import Grid
from harness.grids.plan import earlier_models
from harness.grids.yaml_file import Document
from harness.plugins.options import resolve
from harness.runner.grid import run_grid
from harness.storage.store import Store
from harness.system import model_files

LANGUAGE = {"name": "language", "length": 6, "symbols": 6, "train": 40, "validation": 8, "test": 8}
BASE = {
    "benchmark": LANGUAGE,
    "trainer": "mle",
    "training": {"steps": 2, "rows": 4},
    "sampling": {"rollouts": 4, "length": 6},
    "metrics": ["perplexity"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model in `m/mut`."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "m" / "mut")
    return tmp_path


def put(folder: Path, seed: int = 0) -> None:
    """Write a checkpoint; all of them have one shape."""
    tiny_policy(backspace=False, dtype="float32", seed=seed).save(folder)


def grid(name: str = "m/mut", seeds: int = 1, **model: Any) -> Grid:
    base = {**BASE, "model": {"name": name, "context": 24, **model}}
    return Grid.read(Document({"base": base, "seeds": seeds, "controls": False}, "here"), "here")


def cell(name: str = "m/mut", **model: Any) -> RunConfig:
    return grid(name, **model).expand()[0]


def shell(*args: str, code: int = 0) -> Any:
    result = CliRunner(env={"HARNESS_STORE": "sqlite:///runs.db", "COLUMNS": "200"}).invoke(app, list(args))
    assert result.exit_code == code, result.output
    return result


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "weights": lambda folder: put(folder, seed=1),
    "configuration": lambda folder: edit(folder / "config.json", layer_norm_epsilon=0.1),
    "tokenizer": lambda folder: edit(folder / "tokenizer_config.json", model_max_length=12),
    "ends": lambda folder: edit(folder / "generation_config.json", eos_token_id=[1, 0]),
    "a file more": lambda folder: (folder / "added_tokens.json").write_text("{}"),
    "a file less": lambda folder: (folder / "generation_config.json").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_content_is_another_run(change: str, here: Path) -> None:
    before = cell()
    assert before.model.revision == model_files.content_of(here / "m" / "mut")
    assert cell() == before
    CHANGES[change](here / "m" / "mut")
    after = cell()
    assert after.run_id != before.run_id
    assert after.group_id != before.group_id  # a row of its own, never averaged with the other
    assert after.train_id != before.train_id  # nor is its policy the one that was kept


def adapter(folder: Path, base: str, weights: bytes = b"adapter") -> Path:
    """A PEFT adapter as `save_pretrained` writes it, with no model of its own; nothing here loads its weights."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


BASE_CHANGES = {name: CHANGES[name] for name in ("weights", "configuration", "tokenizer", "ends", "a file less")}


@pytest.mark.parametrize("change", BASE_CHANGES)
def test_an_adapter_is_known_by_its_base_s_content_too(change: str, here: Path) -> None:
    """By an absolute path, a relative one and a link; an adapter on an adapter, too."""
    (here / "m" / "latest").symlink_to("mut")
    adapters = [
        adapter(here / "m" / f"on{i}", base)
        for i, base in enumerate((str(here / "m" / "mut"), "m/mut", "./m/mut/", "m/latest", "m/on0"))
    ]
    before = [cell(f"m/{one.name}") for one in adapters]
    assert [cell(f"m/{one.name}") for one in adapters] == before
    BASE_CHANGES[change](here / "m" / "mut")
    for one, earlier in zip(adapters, before, strict=True):
        after = cell(f"m/{one.name}")
        assert after.run_id != earlier.run_id
        assert after.group_id != earlier.group_id
        assert after.train_id != earlier.train_id


def test_an_adapter_s_own_files_count_and_its_base_s_only_where_it_is_loaded(here: Path) -> None:
    """Not where the folder has a model of its own; a Hub id is what its configuration says, as ever."""
    one = adapter(here / "m" / "on", "m/mut")
    on_base = model_files.content_of(one)
    adapter(one, "m/mut", weights=b"other")
    assert model_files.content_of(one) != on_base
    hub = adapter(here / "m" / "hub", "OWNER/NAME")
    files = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(hub.iterdir())]
    written = "".join(f"{name} {digest}\n" for name, digest in files)
    assert model_files.content_of(hub) == hashlib.sha256(written.encode()).hexdigest()[:12]
    put(here / "m" / "both")
    adapter(here / "m" / "both", "m/mut")
    own = model_files.content_of(here / "m" / "both")
    put(here / "m" / "mut", seed=1)
    assert model_files.content_of(here / "m" / "both") == own


@pytest.mark.parametrize(
    "config", ["", "[]", "{}", '{"base_model_name_or_path": null}', '{"base_model_name_or_path": 3}']
)
def test_a_broken_adapter_has_a_content(config: str, here: Path) -> None:
    folder = adapter(here / "m" / "on", "m/mut")
    (folder / "adapter_config.json").write_text(config)
    assert len(model_files.content_of(folder)) == 12


def test_adapters_on_each_other_and_on_themselves_have_a_content(here: Path) -> None:
    one, other = adapter(here / "m" / "one", "m/other"), adapter(here / "m" / "other", "m/one")
    alone = adapter(here / "m" / "alone", "m/alone")
    assert len({model_files.content_of(folder) for folder in (one, other, alone)}) == 3


def test_what_computes_nothing_is_no_content(here: Path) -> None:
    """The model card, code, an earlier checkpoint in a subfolder, and the times of all files."""
    before = cell()
    for name in ("README.md", "modeling.py", "checkpoint-5/model.safetensors"):
        (here / "m" / "mut" / name).parent.mkdir(exist_ok=True)
        (here / "m" / "mut" / name).write_text("more")
    for path in (here / "m" / "mut").iterdir():
        os.utime(path, (1, 1))
    assert cell() == before


def test_spellings_of_one_path_are_one_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative ones and absolute ones each: a project that moves keeps its relative names."""
    monkeypatch.setenv("HOME", str(here))
    relative = {cell(name).run_id for name in ("m/mut", "./m/mut", "m/mut/", "m//mut", "m/./mut/")}
    absolute = {cell(name).run_id for name in (f"{here}/m/mut", f"{here}/m/mut/", "~/m/mut", "~/m/mut/")}
    assert len(relative) == len(absolute) == 1
    assert cell("m/mut").model.name == "m/mut"
    assert cell("m/mut").model.revision == cell("~/m/mut").model.revision
    monkeypatch.chdir("m")
    assert cell("mut").model.name == cell("mut/").model.name == "./mut"
    put(Path("gpt2"))
    assert (cell("./gpt2/").model.name, cell("./gpt2").model.from_scratch) == ("./gpt2", False)


def test_a_link_has_its_own_name_and_its_target_s_content(here: Path) -> None:
    put(here / "m" / "other", seed=1)
    link = here / "m" / "latest"
    link.symlink_to("mut")
    before = cell("m/latest")
    assert before.model == cell("m/mut").model.model_copy(update={"name": "m/latest"})
    link.unlink()
    link.symlink_to("other")
    assert cell("m/latest").model.revision == cell("m/other").model.revision != before.model.revision


def test_a_given_revision_is_kept_and_other_models_have_none(here: Path) -> None:
    assert cell(revision="0123456789ab").model.revision == "0123456789ab"
    assert cell("OWNER/NAME").model.model_dump()["revision"] is None
    scratch = resolve(RunConfig.model_validate(BASE))
    assert scratch.model == RunConfig.model_validate(BASE).model
    assert scratch.model.revision is None


def test_a_settled_file_is_read_once_and_a_fresh_one_always(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write within two seconds of the last may leave size and times as they are, so that only reading tells."""
    weights = here / "m" / "mut" / "model.safetensors"
    content = weights.read_bytes()
    first = model_files.content_of(weights.parent)
    stat = weights.stat()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = model_files.content_of(weights.parent)
    assert second != first
    monkeypatch.setattr(model_files, "_SETTLED", -1e9)
    read = model_files._read.cache_info
    assert model_files.content_of(weights.parent) == second
    missed = read().misses
    assert model_files.content_of(weights.parent) == second
    assert read().misses == missed
    weights.write_bytes(content + b" ")
    assert model_files.content_of(weights.parent) != second


def test_seeds_that_are_added_after_a_change_are_runs_of_another_model(here: Path) -> None:
    """Two seeds, another checkpoint in the folder, four seeds: four runs are done now, in a row of their own."""
    (here / "g.yaml").write_text(
        json.dumps({"base": {**BASE, "model": {"name": "m/mut", "context": 24}}, "controls": False})
    )
    assert "2 done now, 0 done before" in shell("run", "g.yaml", "--seeds", "2").stdout
    assert "its content is" not in shell("run", "g.yaml", "--seeds", "2").output
    old = model_files.content_of(Path("m/mut"))
    put(here / "m" / "mut", seed=1)
    new = model_files.content_of(Path("m/mut"))
    said = f"model.name=m/mut: its content is {new}, and was {old} in 2 finished runs that differ in nothing else"
    assert said in shell("plan", "g.yaml", "--seeds", "4").stderr
    again = shell("run", "g.yaml", "--seeds", "4")
    assert said in again.stderr
    assert "4 done now, 0 done before" in again.stdout
    assert "its content is" not in shell("run", "g.yaml", "--seeds", "4").output  # nothing is left to mistake
    with Store("sqlite:///runs.db") as store:
        assert store.runs().groupby("model.revision").size().to_dict() == {old: 2, new: 4}
    printed = shell("leaderboard", "g").stdout
    assert f"model.revision={old}" in printed or old in printed
    assert new in printed
    shutil.move(here / "m" / "mut", here / "m" / "renamed")
    renamed = shell("plan", "g.yaml", "model.name=m/renamed").stderr
    assert f"the same content, {new}, is called m/mut in 4 finished runs" in renamed


def test_runs_that_did_not_record_the_content_are_named(here: Path, store: Store) -> None:
    """As an earlier version wrote them: the same configuration, without a revision."""
    old = [
        one.model_copy(update={"model": one.model.model_copy(update={"revision": None})})
        for one in grid(seeds=2).expand()
    ]
    assert old[0].run_id != cell().run_id
    rows = [
        {
            "run_id": one.run_id,
            "group_id": one.group_id,
            "status": "done",
            "model.name": "m/mut",
            "model.revision": None,
        }
        for one in old
    ]
    (said,) = earlier_models(check(grid(seeds=3)), rows)
    assert "m/mut: its content is" in said
    assert "2 finished runs that differ in nothing else did not record the content" in said
    (one,) = earlier_models(check(grid(seeds=3)), rows[:1])
    assert "1 finished run that differs in nothing else did not record" in one
    assert earlier_models(check(grid(lora_r=2)), rows) == []
    assert earlier_models(check(grid("OWNER/NAME")), rows) == []


def test_a_directory_that_changes_under_a_running_grid_is_refused(here: Path, store: Store) -> None:
    """Between the plan and the run, or between two seeds: no seed is computed from another content."""
    cells = grid(seeds=2).expand()
    events = run_grid(cells, store, grid_name="g")
    for event in events:
        if event.stage == "done":
            put(here / "m" / "mut", seed=1)
            break
    rest = [event for event in events if event.stage in ("done", "failed", "waiting")]
    assert not [event for event in rest if event.stage == "done"]
    assert "the directory has changed" in "".join(event.message for event in rest)
