"""Mistakes in the prompt's continuation or forced while sampling, and P(<backspace>) after them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from harness.actions.batch import pack
from harness.actions.noise import Propose, Slot, ground_truth
from harness.actions.weights import Weighting
from harness.generation.prompts import prompt_tokens
from harness.generation.rollouts import Replace, Start
from harness.models.batching import BATCH_ROWS, slices
from harness.models.policy import Policy
from harness.plugins.metric import Unscorable
from harness.records.data import Example, Mistake
from harness.records.rollout import Trajectory
from harness.seeding import generator


def corrupted_starts(
    policy: Policy, prompts: Sequence[Example], propose: Propose, wrong: int, *, length: int | None, seed: int
) -> list[Start]:
    """Starts of rollouts: each prompt's expert text up to a random place and `wrong` mistakes there, all deletable.

    A place is before a token of the text or before its end, uniform over those where the mistakes fit into the context
    and into `length` tokens after the prompt.  Prompt i draws from its own stream of `seed`, its place first: if there
    is room for more mistakes, they stand in the same place and begin with the same ones.

    Raises:
        Unscorable: after some prompt there is no room for so many mistakes.
    """
    starts = []
    for index, example in enumerate(prompts):
        rng = generator(seed, "corrupted", index)
        prompt = (policy.start_id, *policy.encode(example.prompt))
        text = tuple(policy.follow(example.prompt, example.text))
        places = min(len(text), min(length or policy.context, policy.context - len(prompt)) - wrong) + 1
        if places < 1:
            raise Unscorable(
                f"there is no room for {wrong} wrong tokens after a prompt of {len(prompt)}; "
                f"raise model.context={policy.context} or sampling.length={length}"
            )
        place = int(rng.random() * places)
        given = text[:place]
        for done in range(wrong):
            right = (*text, policy.end_id)[place] if done == 0 else None
            given = (*given, *propose([Slot((*prompt, *given), right, rng)]))
        starts.append(Start(prompt, given))
    return starts


def forced_mistakes(propose: Propose, rows: int, seed: int) -> Replace:
    """Mistakes to force on rollouts 0 to `rows` - 1 while they are written; each draws from a stream of its own."""
    rngs = [generator(seed, "forced", row) for row in range(rows)]
    return lambda row, text: propose([Slot(text, None, rngs[row])])[0]


@torch.no_grad()
def backspace_after(policy: Policy, examples: Sequence[Example], mistake: Mistake, wrong: int, seed: int) -> np.ndarray:
    """pi(<backspace>|s) after 1, ..., `wrong` mistakes in a row, at every place of the expert texts; [S, wrong].

    A place is before any token of a text or before its end; places whose mistakes would not fit into the context are
    left out.  Each text is one row that makes the mistakes, deletes them and goes on, so one forward pass sees it all.
    """
    assert policy.space.backspace_id is not None
    propose = ground_truth(mistake, policy.decode, policy.inside)
    rows: list[tuple[Trajectory, list[int]]] = []  # and the actions in whose states pi is read
    for index, example in enumerate(examples):
        rng = generator(seed, "mistakes", index)
        prompt, text = prompt_tokens(policy, example.prompt), policy.follow(example.prompt, example.text)
        actions: list[int] = []
        at: list[int] = []
        for position in range(min(len(text), policy.context - len(prompt) - wrong) + 1):
            before = (*prompt, *text[:position])
            for _ in range(wrong):
                (token,) = propose([Slot(before, None, rng)])
                before = (*before, token)
            at += range(len(actions) + 1, len(actions) + 1 + wrong)
            actions += [*before[-wrong:], *[policy.space.backspace_id] * wrong, *text[position : position + 1]]
        if at:
            rows.append((Trajectory(prompt, tuple(actions)), at))
    found = [np.zeros((0, wrong))]
    for part in slices(rows, BATCH_ROWS):
        batch = pack([row for row, _ in part], policy.space, Weighting(kind="uniform")).to(policy.device)
        hidden = policy.hidden(batch)
        for row, (_, at) in enumerate(part):
            states = hidden[row, batch.states[row, at]]
            log_probs = policy.logits(states, batch.legal[row, at]).log_softmax(-1)
            chances = log_probs[:, policy.space.backspace_id].double().exp().cpu().numpy()
            found.append(chances.reshape(-1, wrong))
    return np.concatenate(found)
