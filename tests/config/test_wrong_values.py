"""Every kind of wrong configuration that we could think of gets one message that says where, what and what next."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app

GOOD = "base: {benchmark: language, trainer: mle}\n"

# (what is wrong, the file, what the message must contain: the place or field, and the hint)
FILES: list[tuple[str, str, tuple[str, ...]]] = [
    ("unclosed bracket", "base: {benchmark: language\n", ("grid.yaml:2", "expected")),
    ("tab", "base:\n\tbenchmark: language\n", ("grid.yaml:2", "spaces, not tabs")),
    ("duplicate key", "base:\n  trainer: mle\n  trainer: bc\n", ("grid.yaml:3", "duplicate key", "trainer")),
    ("two documents", GOOD + "---\n" + GOOD, ("grid.yaml:2", "document")),
    ("tag", "base: !!python/object/apply:os.getcwd []\n", ("grid.yaml:1", "tags", "remove it")),
    ("alias", "base: &b {trainer: mle}\ninclude: [*b]\n", ("grid.yaml:1", "anchors (&b)", "remove it")),
    ("empty file", "", ("grid.yaml", "holds nothing", "base:")),
    ("a list", "- base\n", ("grid.yaml", "holds a list, but", "mapping")),
    ("a number", "3\n", ("grid.yaml", "holds a number, but", "mapping")),
    ("a fraction", "1e-3\n", ("grid.yaml", "holds a number, but", "mapping")),
    ("a truth value", "true\n", ("grid.yaml", "holds a truth value, but", "mapping")),
    ("a text", "'base'\n", ("grid.yaml", "holds text, but", "mapping")),
    ("a literal text", "|\n  base: 3\n", ("grid.yaml", "holds text, but", "mapping")),
    ("a flow list", "[base, grid]\n", ("grid.yaml", "holds a list, but", "mapping")),
    ("key that is a number", GOOD + "base2: {1: 2}\n", ("grid.yaml:2", "base2", "key 1 is not text", "quotes")),
    (
        "a date",
        GOOD + "grid: {benchmark.seed: [2020-01-01]}\n",
        ("grid.yaml:2: grid.benchmark.seed[0]", "'2020-01-01'", "integer"),
    ),
    ("impossible date", GOOD + "seeds: 2020-13-45\n", ("grid.yaml:2: seeds", "'2020-13-45'", "a number of seeds")),
    ("huge integer", GOOD + f"seeds: {'9' * 30}\n", ("grid.yaml:2: seeds", "from 1 to 10000")),
    ("huge seed", GOOD + f"seeds: [{'9' * 30}]\n", ("grid.yaml:2: seeds", "the largest seed is 9223372036854775807")),
    ("huge width", GOOD + f"grid: {{model.width: [{'8' * 30}]}}\n", ("grid.model.width[0]=888", "the largest is")),
    ("integer of 5,000 digits", GOOD + f"seeds: {'9' * 5000}\n", ("grid.yaml", "digits")),
    ("nested too deep", GOOD + "grid: " + "[" * 40 + "]" * 40 + "\n", ("grid.yaml:2", "deeper than 16", "flatter")),
    ("too big", GOOD + "#" * 1_000_001, ("grid.yaml", "1,000,000 bytes", "split")),
    ("a key that is a mapping", GOOD + "? {a: 1}\n: 2\n", ("grid.yaml:2", "this key is a list or a mapping")),
    ("a key that is a list", GOOD + "[a, b]: 2\n", ("grid.yaml:2", "this key is a list or a mapping")),
    ("NUL byte", "base: \x00\n", ("grid.yaml", "not YAML", "special characters")),
    ("unknown top-level key", GOOD + "grids: {}\n", ("grid.yaml:2: grids", "did you mean 'grid'?")),
    ("name with a blank", GOOD + "name: My grid\n", ("grid.yaml:2: name", "My grid", "lower-case")),
    ("name too long", GOOD + f"name: {'a' * 65}\n", ("grid.yaml:2: name", "at most 64")),
    ("question that is no text", GOOD + "question: 3\n", ("grid.yaml:2: question", "as text")),
    ("base that is no mapping", "base: 3\n", ("grid.yaml:1: base", "3 is not a mapping", "under it")),
    (
        "no benchmark",
        "base: {trainer: mle}\n",
        ("grid.yaml", "no benchmark is named", "add `benchmark: NAME`", "language"),
    ),
    ("no trainer", "base: {benchmark: language}\n", ("grid.yaml", "no trainer is named", "mle")),
    (
        "trainer only in include",
        "base: {benchmark: language}\ninclude: [{trainer: mle}]\n",
        ("grid.yaml", "names no trainer", "add `trainer: NAME` to base"),
    ),
    ("unknown section", "base: {traning: {steps: 3}}\n", ("grid.yaml:1: base.traning", "did you mean 'training'?")),
    ("key without its section", "base: {steps: 3}\n", ("grid.yaml:1: base.steps", "did you mean 'training.steps'?")),
    (
        "unknown key",
        "base:\n  training:\n    stepz: 3\n",
        ("grid.yaml:3: base.training.stepz", "did you mean 'steps'?"),
    ),
    ("unknown dotted key", "base: {training.stepz: 3}\n", ("base.training.stepz", "did you mean 'steps'?")),
    ("key too many", "base: {training.steps.max: 3}\n", ("base.training.steps.max", "training has no key", "'steps'")),
    ("section that is a number", "base: {training: 3}\n", ("base.training", "3 is not a section", "steps, tokens")),
    ("seeds in base", "base: {seeds: 3}\n", ("base.seeds", "at the top of the file")),
    ("key set twice", "base: {training.lr: 1, training: {lr: 2}}\n", ("training.lr is set here and at", "keep one")),
    (
        "word for a number",
        GOOD + "grid: {training.steps: [many]}\n",
        ("grid.yaml:2: grid.training.steps[0]='many'", "integer"),
    ),
    ("fraction of a step", GOOD + "grid: {training.steps: [1.5]}\n", ("grid.training.steps[0]=1.5", "integer")),
    (
        "truth value for a number",
        GOOD + "grid: {training.rows: [true]}\n",
        ("grid.training.rows[0]=true", "write a number"),
    ),
    ("list for a number", GOOD + "grid: {training.rows: [[1]]}\n", ("grid.training.rows[0]=[1]", "integer")),
    (
        "word for a truth value",
        GOOD + "grid: {actions.backspace: [perhaps]}\n",
        ("actions.backspace[0]='perhaps'", "boolean"),
    ),
    ("learning rate 0", GOOD + "grid: {training.lr: [0]}\n", ("grid.training.lr[0]=0", "greater than 0")),
    ("learning rate nan", GOOD + "grid: {training.lr: [.nan]}\n", ("grid.training.lr[0]=nan", "greater than 0")),
    ("learning rate inf", GOOD + "grid: {training.lr: [.inf]}\n", ("grid.training.lr[0]=inf", "finite")),
    (
        "negative noise",
        GOOD + "grid: {actions: [{backspace: true, noise_rate: -.1}]}\n",
        ("grid.actions[0].noise_rate=-0.1", "greater than or equal to 0"),
    ),
    (
        "noise of 1",
        GOOD + "grid: {actions: [{backspace: true, noise_rate: 1}]}\n",
        ("grid.actions[0].noise_rate=1", "less than 1"),
    ),
    (
        "unknown noise",
        GOOD + "grid: {actions: [{backspace: true, noise_kind: gauss}]}\n",
        ("grid.actions[0].noise_kind='gauss'", "'unigram'"),
    ),
    (
        "top_p above 1",
        GOOD + "grid: {sampling.top_p: [1.2]}\n",
        ("grid.sampling.top_p[0]=1.2", "less than or equal to 1"),
    ),
    (
        "temperature 0",
        GOOD + "grid: {sampling.temperature: [0]}\n",
        ("grid.sampling.temperature[0]=0", "greater than 0", "decoder=greedy"),
    ),
    (
        "one rollout",
        GOOD + "grid: {sampling.rollouts: [1]}\n",
        ("grid.sampling.rollouts[0]=1", "greater than or equal to 2"),
    ),
    (
        "unknown schedule",
        GOOD + "grid: {training.schedule: [step]}\n",
        ("grid.training.schedule[0]='step'", "'cosine'"),
    ),
    ("unknown dtype", GOOD + "grid: {model.dtype: [float16]}\n", ("grid.model.dtype[0]='float16'", "'bfloat16'")),
    (
        "two budgets",
        GOOD + "grid: {training: [{steps: 3, tokens: 9}]}\n",
        ("grid.training[0]", "steps and tokens", "keep one"),
    ),
    (
        "more micro-batches than rows",
        GOOD + "grid: {training: [{rows: 2, accumulation: 4}]}\n",
        ("grid.training[0]", "accumulation=4", "rows=2"),
    ),
    (
        "heads and width",
        GOOD + "grid: {model.heads: [5]}\n",
        ("grid.model.heads[0]", "heads=5 does not divide width=64"),
    ),
    (
        "odd llama heads",
        GOOD + "grid: {model: [{name: llama, width: 9, heads: 3}]}\n",
        ("grid.model[0]", "llama needs an even width per head"),
    ),
    (
        "vocabulary of characters",
        GOOD + "grid: {model: [{tokenizer: characters, vocab_size: 300}]}\n",
        ("grid.model[0].vocab_size", "vocab_size is set by the characters", "remove it"),
    ),
    (
        "base of a loaded model",
        GOOD + "grid: {model: [{name: some/dir, base_steps: 3, layers: 2}]}\n",
        ("grid.model[0]", "layers, base_steps", "remove them"),
    ),
    (
        "unknown trainer",
        "base:\n  benchmark: language\n  trainer: sequense_match\n",
        (":3: base.trainer", "'sequence_match'?"),
    ),
    (
        "trainer that is a number",
        "base: {trainer: 3}\n",
        ("base.trainer", "3 is no trainer", "{name: NAME, option: value}"),
    ),
    ("unknown benchmark", "base: {benchmark: languages}\n", ("base.benchmark", "did you mean 'language'?")),
    ("unknown metric", GOOD + "grid: {metrics: [[mauv]]}\n", ("grid.metrics[0][0]", "did you mean 'mauve'?")),
    ("metrics that are no list", "base: {metrics: mauve}\n", ("base.metrics", "'mauve' is not a list", "[mauve")),
    ("metric that is a number", "base: {metrics: [3]}\n", ("base.metrics[0]", "3 is no metric", "write a name")),
    (
        "unknown definition",
        GOOD + "grid: {metrics: [['diversity@simctgg']]}\n",
        ("grid.yaml:2: grid.metrics[0]", "definition='simctgg'", "'simctg'"),
    ),
    (
        "unknown metric option",
        GOOD + "grid: {metrics: [[{name: mauve, poling: mean}]]}\n",
        ("grid.yaml:2: grid.metrics[0]", "metrics[0].poling", "did you mean 'pooling'?"),
    ),
    (
        "unknown divergence",
        "base:\n  benchmark: language\n  trainer: {name: sequence_match, divergence: jss}\n",
        ("grid.yaml:3: base.trainer", "divergence", "'js'"),
    ),
    (
        "option out of range",
        "base:\n  benchmark: language\n  trainer: {name: sequence_match, alpha: -1}\n",
        ("grid.yaml:3: base.trainer.alpha", "alpha=-1", "greater than"),
    ),
    (
        "option of another trainer beside its name",
        "base: {benchmark: language, trainer: {name: mle, alpha: .1}}\ngrid: {trainer: [mle, sequence_match]}\n",
        ("grid.yaml:1: base.trainer.alpha", "trainer mle has no option 'alpha'"),
    ),
    (
        "option that no trainer of the grid has",
        GOOD + "grid: {trainer.alhpa: [.1], trainer: [mle, sequence_match]}\n",
        ("grid.yaml:2: grid.trainer.alhpa[0]", "mle, sequence_match has no option", "did you mean 'alpha'?"),
    ),
    (
        "unknown benchmark option",
        "base: {benchmark: {name: language, sedd: 1}, trainer: mle}\n",
        ("base.benchmark.sedd", "'seed'?"),
    ),
    (
        "one value under grid",
        GOOD + "grid: {training.lr: 1e-3}\n",
        ("grid.yaml:2: grid.training.lr", "not a list", "under base"),
    ),
    ("grid that is a list", GOOD + "grid: [1]\n", ("grid.yaml:2: grid", "not a mapping")),
    ("empty list", GOOD + "grid: {training.lr: []}\n", ("grid.yaml:2: grid.training.lr", "empty list", "at least one")),
    (
        "zip of different lengths",
        GOOD + "zip: {training.lr: [1, 2], training.rows: [3]}\n",
        ("grid.yaml:2: zip", "training.lr has 2, training.rows has 1", "make them equal"),
    ),
    ("zip that is a number", GOOD + "zip: 3\n", ("grid.yaml:2: zip", "3 is not a list")),
    (
        "key in grid and in zip",
        GOOD + "grid: {training.lr: [1]}\nzip: {training.lr: [2]}\n",
        ("zip.training.lr[0]", "training.lr is set here and at", "grid.training.lr[0]"),
    ),
    (
        "unknown key in include",
        GOOD + "include: [{training.stepz: 3}]\n",
        ("grid.yaml:2: include[0].training.stepz", "'steps'?"),
    ),
    ("include that is a mapping", GOOD + "include: {training.steps: 3}\n", ("grid.yaml:2: include", "not a list")),
    ("include of nothing", GOOD + "include: [{}]\n", ("grid.yaml:2: include[0]", "not a mapping", "{key: value, ...}")),
    ("unknown key in exclude", GOOD + "exclude: [{trainr: mle}]\n", ("grid.yaml:2: exclude[0].trainr", "'trainer'?")),
    ("unknown trainer in exclude", GOOD + "exclude: [{trainer: ml}]\n", ("grid.yaml:2: exclude[0].trainer", "'mle'?")),
    (
        "exclude of everything",
        GOOD + "exclude: [{trainer: mle}]\n",
        ("grid.yaml", "exclude", "drops every cell", "remove"),
    ),
    ("no seeds", GOOD + "seeds: 0\n", ("grid.yaml:2: seeds", "seeds=0", "a number of seeds from 1")),
    ("negative seeds", GOOD + "seeds: -1\n", ("grid.yaml:2: seeds", "seeds=-1", "a number of seeds")),
    ("seeds that are a word", GOOD + "seeds: three\n", ("grid.yaml:2: seeds", "seeds='three'", "a number of seeds")),
    ("truth value for seeds", GOOD + "seeds: true\n", ("grid.yaml:2: seeds", "seeds=True", "a number of seeds")),
    ("seed twice", GOOD + "seeds: [1, 1]\n", ("grid.yaml:2: seeds", "[1, 1] names 1 twice", "different seeds")),
    ("a seed too many", GOOD + "seeds: [1, 1, 2]\n", ("seeds=[1, 1, 2] names 1 twice", "different seeds")),
    ("seeds apart", GOOD + "seeds: [0, 2, 7, 0]\n", ("names 0 twice", "different seeds")),
    ("two seeds twice", GOOD + "seeds: [3, 5, 5, 3]\n", ("names 3 and 5 twice", "different seeds")),
    ("negative seed", GOOD + "seeds: [-1]\n", ("grid.yaml:2: seeds", "[-1]", "seeds >= 0")),
    (
        "negative training seed",
        GOOD + "grid: {seeds.train: [-1]}\n",
        ("grid.seeds.train[0]=-1", "greater than or equal to 0"),
    ),
    (
        "too many cells",
        GOOD + "seeds: 9999\ngrid: {training.lr: [1, 2, 3, 4], training.rows: [1, 2, 3, 4]}\n",
        ("grid.yaml", "159,984 cells", "split the grid"),
    ),
]

# (what is wrong, the arguments after the grid, what the message must contain)
ARGUMENTS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("no equals sign", ["lr"], ("'lr' is not key=value", "write for instance lr=1e-3")),
    ("no key", ["=3"], ("'=3' is not key=value",)),
    ("no value", ["lr="], ("lr=", "empty value", "training.lr=VALUE")),
    ("a comma too many", ["lr=1,,2"], ("lr=1,,2", "empty value")),
    ("unknown short key", ["bakspace=true"], ("'bakspace'", "did you mean 'backspace'?")),
    ("unknown full key", ["training.bakspace=true"], ("'training.bakspace'", "did you mean")),
    ("ambiguous key", ["name=x"], ("'name' may mean", "model.name or trainer.name", "in full")),
    ("option that the trainer lacks", ["alpha=.1"], ("unknown key 'alpha'",)),
    ("a metric, not a seed", ["metric=mauve"], ("unknown key 'metric'", "did you mean 'metrics'?")),
    ("key twice", ["lr=1", "training.lr=2"], ("training.lr is given twice", "lr=a,b")),
    ("a mapping", ["trainer={name: mle}"], ("trainer: '{name: mle}'", "is a mapping", "grid file")),
    ("bad YAML", ["lr=[1"], ("lr: '[1'", "not a plain value", "write a number")),
    ("word for a number", ["lr=fast"], ("lr='fast'", "valid number")),
    ("nan", ["lr=nan"], ("lr='nan'", "greater than 0")),
    ("inf", ["lr=inf"], ("lr=inf", "finite")),
    ("unknown trainer", ["trainer=mlee"], ("trainer: unknown trainer 'mlee'", "did you mean 'mle'?")),
    ("unknown metric", ["metrics=mauve,diversty"], ("metrics: unknown metric 'diversty'", "'diversity'?")),
    ("second budget", ["tokens=100", "steps=3"], ("steps and tokens", "keep one")),
    ("a list", ["lr=[1]"], ("lr: '[1]'", "is a list", "grid file")),
    ("seed twice", ["seeds=4,4,1"], ("command line: seeds: seeds=[4, 4, 1] names 4 twice", "different seeds")),
    ("no seeds", ["--seeds", "0"], ("seeds=0", "a number of seeds")),
    ("no cells", ["--limit", "0"], ("--limit 0", "a share")),
    ("negative limit", ["--limit=-1"], ("--limit -1", "a share")),
    ("share above 1", ["--limit", "1.5"], ("--limit 1.5", "(0, 1]")),
    ("share that is no number", ["--limit", "nan"], ("--limit nan", "(0, 1]")),
    ("plug-in file missing", ["--include", "nowhere.py"], ("--include nowhere.py", "give the path of a .py file")),
]


def refused(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["plan", *arguments])
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    message: str = result.stderr
    assert message.startswith("error: ")
    assert message.count("\n") == 1, "one message, one line"
    return message


@pytest.mark.parametrize(("text", "wanted"), [pytest.param(*case[1:], id=case[0]) for case in FILES])
def test_a_wrong_file_is_refused_where_it_is_wrong(text: str, wanted: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    message = refused(str(path))
    for part in wanted:
        assert part in message


@pytest.mark.parametrize(("arguments", "wanted"), [pytest.param(*case[1:], id=case[0]) for case in ARGUMENTS])
def test_wrong_arguments_are_refused(arguments: list[str], wanted: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GOOD.replace("mle", "mle, model: {tokenizer: characters}"))
    message = refused(str(path), *arguments)
    for part in wanted:
        assert part in message


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\xff\xfe")
    (tmp_path / "Capital.yaml").write_text(GOOD)
    for name, hint in (
        ("missing.yaml", "no such file; give the path of a .yaml file"),
        ("folder.yaml", "is a directory; give the path of a .yaml file"),
        ("binary.yaml", "is not UTF-8 text (byte 0)"),
        ("Capital.yaml", "'Capital' is no name for a grid; add `name:`"),
    ):
        message = refused(str(tmp_path / name))
        assert name in message
        assert hint in message


def test_a_name_that_no_grid_has() -> None:
    message = refused("no-such-grid")
    assert "unknown grid 'no-such-grid'" in message
    assert "or give the path of a .yaml file" in message


def test_there_are_at_least_forty_kinds() -> None:
    """The same text would be one kind: 80 files and 20 argument lists are all different."""
    assert len({case[1] for case in FILES}) == len(FILES) >= 40
    assert len({tuple(case[1]) for case in ARGUMENTS}) == len(ARGUMENTS) >= 20
