"""Keys are named by their last part, and runs are chosen by filters."""

from __future__ import annotations

import pytest

from harness.analysis.filters import known_keys, parse_filter, select, stored_key
from harness.config.keys import short_keys
from harness.errors import ConfigError
from harness.storage.queries import Run, Seeds


def run(name: str, seed: int = 0, **config: object) -> Run:
    given = {"benchmark.name": "text", "trainer.name": name, **{k.replace("__", "."): v for k, v in config.items()}}
    return Run(f"{name}{seed}", name, "done", "d", given, Seeds(seed, seed, 5), None, None, None)


RUNS = [
    run("mle", actions__backspace=False, training__lr=0.001),
    run("bc", 1, actions__backspace=True, training__lr=0.001, trainer__mix=None),
    run("sm", 2, actions__backspace=True, training__lr=0.01, trainer__alpha=0.1, model__name="tiny model"),
]
KEYS = known_keys(RUNS)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("trainer=mle", "mle"),
        ("trainer.name == mle", "mle"),
        ("trainer!=mle", "bc sm"),
        ("trainer in mle|sm", "mle sm"),
        ("trainer in 'mle' | 'bc'", "mle bc"),
        ("model = 'tiny model'", "sm"),
        ("backspace=True", "bc sm"),
        ("lr=1e-3", "mle bc"),
        ("alpha != 0.1", "mle bc"),
        ("alpha=0.1", "sm"),
        ("mix=null", "bc"),
        ("seeds.train=2", "sm"),
        ("sample in 0|1", "mle bc"),
    ],
)
def test_filters(text: str, names: str) -> None:
    """A run without a key does not have any of its values, so `!=` keeps it."""
    assert [found.group_id for found in select(RUNS, [text], KEYS)] == names.split()


def test_filters_hold_together_and_say_what_they_are() -> None:
    assert select(RUNS, ["backspace=true", "lr=0.001"], KEYS) == [RUNS[1]]
    assert str(parse_filter("trainer in mle|bc", RUNS, KEYS)) == "trainer.name=mle|bc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer", "is not key=value; write, say, trainer.name=mle, lr!=1e-3 or 'trainer in mle|bc'"),
        ("trainer=mel", "no finished run has trainer.name=mel; did you mean 'mle'?"),
        ("trainer!=mel", "did you mean 'mle'?"),
        ("trainer in mle|mel", "trainer.name=mel"),
        ("trainr=mle", "did you mean 'trainer"),
        ("name=mle", "may be benchmark.name, trainer.name, model.name; write the whole key"),
    ],
)
def test_a_wrong_filter_gets_a_hint(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("|", r"\|")):
        select(RUNS, [text], KEYS)


def test_keys_by_their_last_part() -> None:
    assert stored_key("back-space".replace("-", ""), KEYS) == "actions.backspace"
    assert stored_key("trainer", KEYS) == "trainer.name"
    assert short_keys(["trainer.name", "model.name", "a.x", "b.x"]) == ["trainer", "model", "a.x", "b.x"]
