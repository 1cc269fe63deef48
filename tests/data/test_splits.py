"""A run is handed the split that it is evaluated on, not the other, and what it was handed is counted."""

from __future__ import annotations

from harness.data.splits import HeldOut
from harness.records import Example, Splits


def one(text: str) -> tuple[Example, ...]:
    return (Example(text),)


SPLITS = Splits(one("train"), one("validation"), one("test"), one("prompt"), validation_prompts=one("choice"))


def test_one_split_is_handed_out_and_the_other_is_empty() -> None:
    held_out = HeldOut(SPLITS)
    test, validation = held_out.of("test"), held_out.of("validation")
    assert (test.test, test.prompts, test.validation, test.tuning_prompts) == (one("test"), one("prompt"), (), ())
    assert (validation.test, validation.prompts) == (one("validation"), one("choice"))
    assert "test" not in {e.text for e in (*validation.test, *validation.prompts, *validation.tuning_prompts)}
    assert test.train == validation.train == one("train")
    held_out.of("validation")
    assert held_out.read == {"test": 1, "validation": 2}


def test_without_prompts_of_its_own_the_validation_split_is_its_prompts() -> None:
    without = HeldOut(Splits(one("train"), one("validation"), one("test"), one("prompt")))
    assert without.of("validation").prompts == one("validation")


def test_whole_documents_do_not_stand_in_for_passages() -> None:
    """Test passages answer prompts, so documents without prompts are another task; examples with prompts are not."""
    asked = (Example("Paris", "The capital of France is"),)
    for validation, wanted in ((one("validation"), ()), (asked, asked)):
        held_out = HeldOut(Splits(one("train"), validation, one("test"), asked))
        assert held_out.of("validation").prompts == wanted


def test_a_control_gets_both() -> None:
    held_out = HeldOut(SPLITS)
    assert held_out.both() is SPLITS
    assert held_out.read == {"test": 1, "validation": 1}
