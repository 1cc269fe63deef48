"""Text as it is typed: quotes protect what is inside them, and no field that takes text gets a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.run import RunConfig
from harness.config.written import split_list, takes_text
from harness.errors import ConfigError
from harness.grids.grid import Grid
from harness.grids.yaml_file import Document, parse_scalar, read_document
from harness.plugins.metric_names import parse_metric

# The first three are commits that YAML 1.2 reads as inf, 0.0 and 123489; the others are as good names of a revision.
NUMBERS = ("58899e012345", "0e12345", "0123489", "1234567", "0x1f", "1_000", "12.50", "9" * 30, ".inf", "true")
OTHERS = ("2024-01-01", "2024-13-45", "=")  # ruamel.yaml reads a date, an error and a value of its own
BASE: dict[str, Any] = {"benchmark": "text", "trainer": "mle", "model": {"name": "some/dir"}}


def typed(*overrides: str, **base: Any) -> list[RunConfig]:
    return Grid.read(Document({"base": {**BASE, **base}}, "test"), "test").override(overrides).expand()


def in_file(folder: Path, text: str) -> list[RunConfig]:
    (folder / "g.yaml").write_text(text)
    return Grid.read(read_document(folder / "g.yaml"), "g").expand()


@pytest.mark.parametrize("text", [*NUMBERS, *OTHERS])
def test_a_revision_is_the_text_that_is_typed(text: str, tmp_path: Path) -> None:
    """On the command line, in a file, and in a file with quotes: one run, never its neighbour's."""
    head = "base: {benchmark: text, trainer: mle, model: {name: some/dir, revision: "
    found = [
        *typed(f"revision={text}"),
        *in_file(tmp_path, f"{head}{text}}}}}\n"),
        *in_file(tmp_path, f"{head}'{text}'}}}}"),
    ]
    assert [cell.model.revision for cell in found] == [text] * 3
    assert len({cell.run_id for cell in found}) == 1


def test_two_revisions_of_one_number_are_two_runs() -> None:
    """Both are inf to YAML: they would have been one cell."""
    assert len(typed("revision=58899e012345,12e99999")) == 2
    assert [cell.model.revision for cell in typed("revision=null,1e5")] == [None, "1e5"]


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("model.name=2024", "model.name", "2024"),
        ("field=0", "benchmark.field", "0"),
        ("corpus=1e5.jsonl", "benchmark.corpus", "1e5.jsonl"),
        ("field=007", "benchmark.field", "007"),
        ("at_metrics=1e5", "evaluation.at_metrics", ("1e5",)),
    ],
)
def test_every_field_that_takes_text_has_it(override: str, key: str, value: Any) -> None:
    points = {"evaluation": {"at_steps": 3}} if "at_metrics" in override else {}
    (cell,) = typed(override, benchmark={"name": "text", "corpus": "d.jsonl"}, **points)
    section, _, name = key.partition(".")
    assert cell.model_dump()[section][name] == value


def test_options_have_their_text_wherever_a_file_writes_them(tmp_path: Path) -> None:
    """Beside the name, apart, in a list, in zip; an exclude names the text, too."""
    (beside,) = in_file(tmp_path, "base: {trainer: mle, benchmark: {name: text, corpus: d.jsonl, field: 1e5}}\n")
    assert beside.benchmark.options["field"] == "1e5"
    grid = "base: {trainer: mle, benchmark: {name: text, corpus: d.txt}}\n"
    apart = in_file(
        tmp_path, grid + "grid: {benchmark.separator: [1e555, 2e555]}\nexclude: [{benchmark.separator: 2e555}]\n"
    )
    assert [cell.benchmark.options["separator"] for cell in apart] == ["1e555"]
    zipped = in_file(tmp_path, grid + "zip: {model.name: [1e5, 02], model.revision: [0123489, 5e55555]}\n")
    assert [(cell.model.name, cell.model.revision) for cell in zipped] == [("1e5", "0123489"), ("02", "5e55555")]
    (metric,) = in_file(tmp_path, grid.replace("mle,", "mle, metrics: [{name: mauve, featuriser: 1e500}],", 1))
    assert metric.metrics is not None
    assert metric.metrics[0].options["featuriser"] == "1e500"


def test_numbers_stay_numbers() -> None:
    (cell,) = typed("lr=1e-3", "temperature=.5", "rows=010", "prompt_words=3")
    assert (cell.training.lr, cell.sampling.temperature, cell.training.rows) == (0.001, 0.5, 10)
    assert cell.benchmark.options["prompt_words"] == 3
    with pytest.raises(ConfigError, match=r"lr=inf: is not finite"):
        typed("lr=58899e012345")
    with pytest.raises(ConfigError, match=r"train=99999999999999999999\.\.\.: is too large"):
        typed(f"seeds.train={'9' * 30}")
    with pytest.raises(ConfigError, match="names no seeds"):
        typed(f"seeds=0,{'9' * 30}")


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ('corpus="d/a,b=c #1.jsonl"', ["d/a,b=c #1.jsonl"]),
        ("corpus='d/a,b=c #1.jsonl'", ["d/a,b=c #1.jsonl"]),
        ("corpus=\"a,b.jsonl\", c.jsonl,'d,e.jsonl'", ["a,b.jsonl", "c.jsonl", "d,e.jsonl"]),
        ("corpus=d/a #1.jsonl", ["d/a #1.jsonl"]),
        ("corpus=#1.jsonl", ["#1.jsonl"]),
        ("corpus=a: b.jsonl", ["a: b.jsonl"]),
        ("corpus='it''s, here.jsonl'", ["it's, here.jsonl"]),
        ("corpus=bob's.jsonl,al's.jsonl", ["bob's.jsonl", "al's.jsonl"]),
        (r'corpus="\"a\", b.jsonl"', ['"a", b.jsonl']),
        ("corpus=hub:o/n@0e12345:train[:20,000]", ["hub:o/n@0e12345:train[:20,000]"]),
    ],
)
def test_quotes_protect_a_value(override: str, values: list[str]) -> None:
    text = override.partition("=")[2]
    assert [parse_scalar(piece) for piece in split_list(text)] == values
    if ":20," not in text:
        assert [cell.benchmark.options["corpus"] for cell in typed(override)] == values


def test_quotes_protect_separators_models_and_featurisers() -> None:
    (cell,) = typed('separator=", "', "corpus=d.txt", 'model.name="m/a,b: c #d"')
    assert (cell.benchmark.options["separator"], cell.model.name) == (", ", "m/a,b: c #d")
    assert typed(r'separator="\n"', "corpus=d.txt")[0].benchmark.options["separator"] == "\n"
    (cell,) = typed('metrics=mauve@mauve-text[featuriser="m/[a],b=c",scaling=4],diversity')
    assert cell.metrics is not None
    assert [metric.name for metric in cell.metrics] == ["mauve", "diversity"]
    assert (cell.metrics[0].options["featuriser"], cell.metrics[0].options["scaling"]) == ("m/[a],b=c", 4.0)
    assert parse_metric("mauve@mauve-text[featuriser='m/a,b']").options["featuriser"] == "m/a,b"


@pytest.mark.parametrize("text", ['"a', '"a" #b', "'a' 'b'", '"a": "b"'])
def test_text_that_does_not_end_with_its_quotes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="does not end where its quotes do; write"):
        parse_scalar(text)


def test_types_that_take_text() -> None:
    from typing import Annotated, Literal

    assert all(map(takes_text, (str, str | None, tuple[str, ...] | None, Literal["a"], Annotated[str, 1], list[str])))
    assert not any(map(takes_text, (int, float | str, float | Literal["best"], bool | None, tuple[int, ...], None)))
