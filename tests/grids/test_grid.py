"""Grids: products, pairs, exclusions, inclusions, seeds and overrides, each counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.run import RunConfig
from harness.errors import ConfigError
from harness.grids.check import check
from harness.grids.grid import Grid, first, grid_names, load_grid
from harness.grids.idle import doubles, idle_excludes
from harness.grids.settings import split_list
from harness.grids.yaml_file import Document, parse_scalar, read_document

BASE: dict[str, Any] = {"benchmark": "language", "trainer": "mle"}


def cells(*overrides: str, **document: Any) -> list[RunConfig]:
    document.setdefault("base", BASE)
    return Grid.read(Document(document, "test"), "test").override(overrides).expand()


def values(found: list[RunConfig], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(cell.flat().get(key) for key in keys) for cell in found]


def test_a_product_turns_its_first_key_slowest() -> None:
    found = cells(grid={"training.lr": [0.1, 0.2], "training": [{"rows": 1}, {"rows": 2}]})
    assert values(found, "training.lr", "training.rows") == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]


def test_zipped_lists_advance_together() -> None:
    """One mapping is one axis of 2; a list of two mappings is two axes, 2 x 3 = 6 cells."""
    widths = {"model.width": [32, 64], "model.layers": [1, 2]}
    assert values(cells(zip=widths), "model.width", "model.layers") == [(32, 1), (64, 2)]
    assert len(cells(zip=[widths, {"training.lr": [0.1, 0.2, 0.3]}])) == 6


def test_seeds_are_outermost_and_set_all_three() -> None:
    found = cells(grid={"training.lr": [0.1, 0.2]}, seeds=[3, 1])
    assert values(found, "seeds.train", "seeds.sample", "seeds.metric", "training.lr") == [
        (3, 3, 3, 0.1),
        (3, 3, 3, 0.2),
        (1, 1, 1, 0.1),
        (1, 1, 1, 0.2),
    ]
    assert len({cell.group_id for cell in found}) == 2


def test_a_cell_may_hold_one_of_its_seeds_fixed() -> None:
    """Sampling variance alone: the training seed stays 0 while the grid's seeds run over 0, 1, 2."""
    found = cells(base={**BASE, "seeds": {"train": 0}}, seeds=3)
    assert values(found, "seeds.train", "seeds.sample") == [(0, 0), (0, 1), (0, 2)]


def test_exclude_drops_from_the_product_and_include_adds() -> None:
    """2 trainers x 2 action spaces - 1 + 1 = 4; `backspace: false` matches although it stands in no axis of one."""
    axes = {"trainer": ["mle", "bc"], "actions.backspace": [False, True]}
    kept = cells(grid=axes, exclude=[{"trainer": "mle", "actions.backspace": True}], include=[{"training.steps": 7}])
    assert values(kept, "trainer.name", "actions.backspace", "training.steps") == [
        ("mle", False, 400),
        ("bc", False, 400),
        ("bc", True, 400),
        ("mle", False, 7),
    ]
    assert len(cells(grid={"trainer": ["mle", "bc"]}, exclude=[{"trainer": "bc", "actions.backspace": False}])) == 1


def test_exclude_spares_nobody_a_default_it_matches() -> None:
    """`training.rows` is 32 by default: exclude sees the finished configuration."""
    assert len(cells(grid={"training.steps": [1, 2]}, exclude=[{"training.steps": 1, "training.rows": 32}])) == 1


def test_exclude_comes_before_checks_so_it_can_drop_what_would_not_work() -> None:
    """heads 5 does not divide width 64; without the exclusion that is an error."""
    axes = {"model.heads": [4, 5], "model.width": [64, 80]}
    kept = cells(grid=axes, exclude=[{"model.heads": 5, "model.width": 64}])
    assert values(kept, "model.heads", "model.width") == [(4, 64), (4, 80), (5, 80)]
    with pytest.raises(ConfigError, match="does not divide"):
        cells(grid=axes)


def test_an_option_apart_from_a_name_reaches_those_that_declare_it() -> None:
    """mle has no alpha, so its two cells are one: 1 + 2 = 3."""
    found = cells(grid={"trainer": ["mle", "sequence_match"], "trainer.alpha": [0.1, 0.2]})
    assert values(found, "trainer.name", "trainer.alpha") == [
        ("mle", None),
        ("sequence_match", 0.1),
        ("sequence_match", 0.2),
    ]
    assert values(cells(base={**BASE, "trainer": "bc"}, grid={"trainer.gamma": [0.9]}), "trainer.gamma") == [(0.9,)]


def test_an_option_beside_a_name_leaves_with_that_name() -> None:
    """gamma .9 was written for sequence_match; bc declares gamma too and keeps its own default."""
    base = {"benchmark": "language", "trainer": {"name": "sequence_match", "gamma": 0.9, "alpha": 0.5}}
    found = cells(base=base, grid={"trainer": ["sequence_match", "bc", "mle"]})
    default = cells(base={"benchmark": "language", "trainer": "bc"})[0].flat()["trainer.gamma"]
    assert values(found, "trainer.name", "trainer.gamma", "trainer.alpha") == [
        ("sequence_match", 0.9, 0.5),
        ("bc", default, None),
        ("mle", None, None),
    ]


def test_equal_cells_are_one() -> None:
    """Noise does nothing without <backspace>: 2 x 2 products, 3 runs."""
    found = cells(grid={"actions.backspace": [False, True], "actions.noise_rate": [0.1, 0.2]})
    assert values(found, "actions.backspace", "actions.noise_rate") == [(False, 0.0), (True, 0.1), (True, 0.2)]


def test_nested_dotted_and_overriding_keys_say_the_same() -> None:
    nested = cells(base={**BASE, "training": {"lr": 0.5, "steps": 9}})
    dotted = cells(base={**BASE, "training.lr": 0.5, "training.steps": 9})
    typed = cells("lr=.5", "training.steps=9")
    assert [cell.run_id for cell in nested] == [cell.run_id for cell in dotted] == [cell.run_id for cell in typed]


def test_one_overriding_value_replaces_and_several_sweep() -> None:
    """The axis of 2 rates becomes one value, or 3; an included cell follows, since it was asked for everywhere."""
    document: dict[str, Any] = {
        "grid": {"training.lr": [0.1, 0.2]},
        "include": [{"training.lr": 7, "training.rows": 8}],
    }
    assert values(cells("lr=.3", **document), "training.lr", "training.rows") == [(0.3, 32), (0.3, 8)]
    assert values(cells("lr=.3,.4,.5", **document), "training.lr", "training.rows") == [
        *[(lr, 32) for lr in (0.3, 0.4, 0.5)],
        *[(lr, 8) for lr in (0.3, 0.4, 0.5)],
    ]


def test_overriding_the_trainer_lets_the_options_of_the_other_go() -> None:
    base = {"benchmark": "language", "trainer": {"name": "sequence_match", "alpha": 0.5}}
    assert values(cells("trainer=mle", base=base), "trainer.name", "trainer.alpha") == [("mle", None)]
    assert values(cells("alpha=.7", "trainer=mle,sequence_match", base=base), "trainer.alpha") == [(None,), (0.7,)]
    assert values(cells("alpha=.7", "trainer=sequence_match"), "trainer.alpha") == [(0.7,)], "in either order"


def test_metrics_are_always_a_list() -> None:
    found = cells("metrics=exact_kl,diversity@simctg,mauve@mauve-text[pooling=last,scaling=5]")
    assert found[0].metrics is not None
    assert [plugin.name for plugin in found[0].metrics] == ["exact_kl", "diversity", "mauve"]
    assert found[0].metrics[2].options["pooling"] == "last"
    swept = cells(grid={"metrics": [["exact_kl"], ["diversity", {"name": "mauve"}]]})
    assert values(swept, "metrics") == [("exact_kl",), ("diversity,mauve",)]


def test_seeds_from_the_command_line() -> None:
    assert [cell.seeds.train for cell in cells("seeds=3")] == [0, 1, 2]
    assert [cell.seeds.train for cell in cells("seeds=5,7")] == [5, 7]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), max_size=4), st.integers(1, 3))
def test_the_number_of_cells_is_the_product_of_the_axes(lengths: list[int], seeds: int) -> None:
    keys = ["training.lr", "sampling.temperature", "training.clip", "training.weight_decay"]
    axes = {key: [i + 1 for i in range(length)] for key, length in zip(keys, lengths, strict=False)}
    product = seeds
    for length in lengths:
        product *= length
    found = cells(grid=axes, seeds=seeds)
    assert len(found) == len({cell.run_id for cell in found}) == product


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        "question: no\nbase: {a: 1e-3, b: .5, c: yes, d: 0o17, e: ~, f: |\n  x\n  , g: 010}\n".replace(
            "|\n  x\n  ", "x"
        )
    )
    document = read_document(path)
    assert document.values == {
        "question": "no",
        "base": {"a": 0.001, "b": 0.5, "c": "yes", "d": 15, "e": None, "f": "x", "g": 10},
    }
    assert all(type(value) in (float, str, int, type(None)) for value in document.values["base"].values())
    assert document.locate(("base", "a")) == f"{path}:2: base.a"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".01", 0.01),
        ("1e-3", 0.001),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("js", "js"),
        ("no", "no"),
        ("a/b.c", "a/b.c"),
    ],
)
def test_command_line_values_have_yaml_types(text: str, value: Any) -> None:
    parsed = parse_scalar(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_commas_inside_brackets_do_not_split() -> None:
    assert split_list("a, b[c=1,d=2],e") == ["a", "b[c=1,d=2]", "e"]


def test_a_limit_is_a_number_or_a_share() -> None:
    """Of 7 cells: 3 are 3, .1 is .7 and so 1 cell, .5 is 3.5 and so 4, 1.0 is all, 1 is one."""
    seven = cells(seeds=7)
    assert [len(first(seven, text)) for text in ("3", "0.1", ".5", "1.0", "1", "99")] == [3, 1, 4, 7, 1, 7]
    assert first(seven, "3") == seven[:3]


def test_every_shipped_grid_expands_and_says_what_it_asks() -> None:
    for name in grid_names():
        grid = load_grid(name)
        assert grid.name == name
        assert grid.question.endswith("?"), name
        corpus = grid.base.get("benchmark.corpus")
        if corpus is not None and corpus.value.startswith("hub:"):  # not to be had here
            grid = grid.override(["corpus=python-docs", "benchmark.validation=0.1", "benchmark.test=0.1"])
        assert check(grid)


def test_the_example_in_the_docstring_works(tmp_path: Path) -> None:
    """3 trainers x 2 spaces - 1 (mle with <backspace>) = 5, x 2 sizes = 10, + 1 included = 11, x 3 seeds = 33."""
    import harness.grids.grid

    assert harness.grids.grid.__doc__ is not None
    example = [line for line in harness.grids.grid.__doc__.splitlines() if line.startswith("    ")]
    path = tmp_path / "example.yaml"
    path.write_text("\n".join(line[4:] for line in example))
    assert len(load_grid(str(path)).expand()) == 33


AXES: dict[str, Any] = {"trainer": ["mle", "bc"], "training.lr": [1e-3, 3e-3]}


@pytest.mark.parametrize(
    ("exclude", "note"),
    [
        ({"training.lr": 3e-4}, "no cell has training.lr=0.0003, they have 0.001, 0.003"),
        ({"trainer": "td_mle"}, "no cell has trainer.name=td_mle, they have mle, bc"),
        ({"trainer": "bc", "training.rows": 16}, "no cell has training.rows=16, they have 32"),
        ({"trainer": "bc", "training.lr": 1e-3, "actions.backspace": True}, "no cell has all of its values"),
        ({"trainer": "mle", "trainer.gamma": 0.5}, "no cell has trainer.gamma=0.5, they have"),
    ],
)
def test_an_exclude_that_drops_nothing_is_said(exclude: dict[str, Any], note: str) -> None:
    grid = {"base": {"benchmark": "language"}, "grid": AXES, "exclude": [exclude]}
    if "actions.backspace" in exclude:
        grid["include"] = [{"trainer": "mle", "actions.backspace": True}]
    (found,) = idle_excludes(Grid.read(Document(grid, "test"), "test"))
    assert found.startswith("test: exclude[0].")
    assert f"this entry of exclude drops no cell: {note}" in found
    assert found.endswith("; correct it, or remove it")


def test_an_exclude_that_drops_a_cell_is_not_noted() -> None:
    """By what is written, by a default, twice over, and where only the entry keeps the grid from an error."""
    axes = {**AXES, "model.heads": [4, 5]}  # 5 heads do not divide a width of 64
    broken = [{"model.heads": 5}, {"trainer": "mle", "model.heads": 5}, {"trainer": "bc", "training.rows": 32}]
    for product, exclude in (
        (AXES, [{"trainer": "mle", "training.lr": 1e-3}, {"training.rows": 32, "training.lr": 3e-3}]),
        (AXES, [{"trainer": "mle"}, {"trainer": "mle", "training.lr": 3e-3}]),
        (axes, broken[:1] + broken[2:]),
    ):
        grid = Grid.read(Document({"base": {"benchmark": "language"}, "grid": product, "exclude": exclude}, "t"), "t")
        assert list(idle_excludes(grid)) == []


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("perplexity,bits_per_byte", ["perplexity"]),
        ("perplexity_word,perplexity", ["perplexity"]),
        ("bits_per_byte,perplexity,nll", ["perplexity"]),
        ("rep_2@exact,rep_4@exact,diversity,rep_3@exact", ["repetition", "diversity"]),
        ("distinct_1,distinct_2@corpus", ["distinct"]),
        ("diversity,distinct_1,diversity@simctg", ["diversity", "distinct", "diversity"]),
    ],
)
def test_measures_of_one_metric_are_one_computation(names: str, kept: list[str]) -> None:
    (cell,) = cells(f"metrics={names}")
    assert [metric.name for metric in cell.metrics or ()] == kept
    (listed,) = cells(base={**BASE, "metrics": names.split(",")})
    assert listed.run_id == cell.run_id


@pytest.mark.parametrize("names", ["mauve,mauve", "perplexity,bits_per_byte,perplexity", "rep_2@exact,rep_2@exact"])
def test_one_name_twice_is_a_mistake(names: str) -> None:
    with pytest.raises(ConfigError, match="stands there twice"):
        cells(f"metrics={names}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lr=1e-3,3e-3,1e-3", ["command line: lr: training.lr=0.001 stands there twice"]),
        ("trainer=mle,bc,mle,mle", ["command line: trainer: trainer.name=mle stands there twice"]),
        ("actions.backspace=true,true", ["command line: actions.backspace: actions.backspace=True stands there twice"]),
        ("lr=1,1.0,2,2", ["training.lr=1", "training.lr=2"]),
        ("lr=1e-3,3e-3", []),
    ],
)
def test_a_value_that_stands_twice_in_an_axis_is_said(given: str, said: list[str]) -> None:
    found = list(doubles(Grid.read(Document({"base": BASE}, "test"), "test").override([given])))
    assert len(found) == len(said)
    for note, beginning in zip(found, said, strict=True):
        assert beginning in note
