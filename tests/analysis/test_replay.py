"""A rollout played again: which action deleted which token, and what stood there in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.actions.space import guess_backspace
from harness.analysis.replay import frames

END, BACK = 0, 9


def row(actions: list[int], stop: str = "ended", pieces: list[str] | None = None, injected: int = 0) -> dict[str, Any]:
    """A stored rollout whose tokens follow from its actions; the first `injected` ones were given."""
    tokens: list[int] = []
    for action in actions[:-1] if stop == "ended" else actions:
        tokens = tokens[:-1] if action == BACK else [*tokens, action]
    return {
        "actions": actions,
        "tokens": tokens,
        "stop": stop,
        "pieces": pieces or [],
        "injected": [i < injected for i in range(len(actions))],
        "log_probs": [-float(i) for i in range(len(actions))],
    }


def test_an_example_by_hand() -> None:
    """`the cat`, cat deleted, dog and it deleted, ` sun` kept, then the end: actions 3 and 5, 2 and 6 are partners.

    1 the, 2 cat, 3 back (2), 4 dog, 5 back (4), 6 sun, 7 end; 1 was given
    """
    pieces = ["the", " cat", "<backspace>", " dog", "<backspace>", " sun", "<end>"]
    found = frames(row([1, 2, BACK, 3, BACK, 4, END], pieces=pieces, injected=1), BACK)
    assert [frame.kind for frame in found] == ["token", "token", "backspace", "token", "backspace", "token", "end"]
    assert [frame.partner for frame in found] == [None, 3, 2, 5, 4, None, None]
    assert [frame.deleted for frame in found] == [False, True, False, True, False, False, False]
    assert [frame.state for frame in found] == [(1,), (1, 2), (1,), (1, 4), (1,), (1, 6), (1, 6)]
    assert [frame.log_prob for frame in found] == [None, -1, -2, -3, -4, -5, -6]
    assert [frame.piece for frame in found] == pieces


def test_an_experts_actions_have_no_probability() -> None:
    """No policy wrote them: their stored log-probability is NaN, which no page may print."""
    written = row([1, END], pieces=["a", "<end>"]) | {"log_probs": [float("nan"), -0.5]}
    assert [frame.log_prob for frame in frames(written, BACK)] == [None, -0.5]


def test_older_files_have_ids_in_place_of_pieces() -> None:
    assert [frame.piece for frame in frames(row([1, 2, BACK, END]), BACK)] == ["[1]", "[2]", "<backspace>", "<end>"]


def test_what_the_model_had_in_mind_stands_with_each_action() -> None:
    """Kept for the first two actions only; a file without any has none."""
    given = row([1, 2, END]) | {"candidates": [[(1, "a", 0.7), (2, "b", 0.2)], []]}
    assert [frame.candidates for frame in frames(given, None)] == [(("a", 1, 0.7), ("b", 2, 0.2)), (), ()]
    assert all(frame.candidates == () for frame in frames(row([1, 2, END]), None))


def test_a_rollout_that_was_cut_has_no_end() -> None:
    assert [frame.kind for frame in frames(row([1, END], "depth"), None)] == ["token", "token"]


def guessed(rows: list[dict[str, Any]]) -> int | None:
    """The guess from rows as a file without the id has them: the end is no deletion."""
    return guess_backspace((one["actions"][: -1 if one["stop"] == "ended" else None], one["tokens"]) for one in rows)


def test_the_backspace_is_guessed_as_the_action_that_makes_actions_into_tokens() -> None:
    """Without a deletion no id is one; an end alone, which writes nothing either, is not taken for it."""
    assert guessed([row([1, 2, BACK, 3, END]), row([END])]) == BACK
    assert guessed([row([1, BACK, 2, BACK, END])]) == BACK
    assert guessed([row([1, 2, END]), row([END])]) is None
    assert guessed([]) is None


@st.composite
def rollouts(draw: st.DrawFn) -> dict[str, Any]:
    actions: list[int] = []
    depth = 0
    for action in draw(st.lists(st.sampled_from([1, 2, 3, BACK]), max_size=12)):
        if action != BACK or depth:
            actions.append(action)
            depth += -1 if action == BACK else 1
    return row([*actions, END])


@given(st.lists(rollouts(), min_size=1, max_size=4))
def test_the_last_state_is_the_stored_text(rows: list[dict[str, Any]]) -> None:
    """Any actions of a policy: the tokens that stand at the end are the stored ones, and deletions come in pairs."""
    backspace = guessed(rows)
    assert backspace == (BACK if any(BACK in one["actions"] for one in rows) else None)
    for one in rows:
        found = frames(one, backspace)
        assert [one["actions"][number - 1] for number in found[-1].state] == one["tokens"]
        for frame in found:
            if frame.partner is not None:
                assert found[frame.partner - 1].partner == frame.number
                assert frame.deleted == (frame.partner > frame.number)
