"""How a policy is disturbed while it is measured: wrong tokens in the text it goes on from, or forced as it writes."""

from __future__ import annotations

from collections.abc import Sequence

from harness.noise import Propose, Slot
from harness.plugins import Unscorable
from harness.policy import Policy
from harness.records import Example
from harness.rollouts import Replace, Start
from harness.streams import generator


def corrupted_starts(
    policy: Policy, prompts: Sequence[Example], propose: Propose, wrong: int, *, length: int | None, seed: int
) -> list[Start]:
    """For each prompt, its expert text up to a random place and `wrong` mistakes there, all of it deletable.

    A place is before a token of the text or before its end, uniform over those where the mistakes fit into the context
    and into `length` tokens after the prompt.  Prompt i draws from its own stream of `seed`, its place first: where
    there is room for more mistakes, more of them stand in the same place and begin with the same ones.

    Raises:
        Unscorable: behind some prompt there is no room for so many mistakes.
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
    """Mistakes to force on rows 0 to `rows` - 1 while they write; each row draws its own from its own stream."""
    rngs = [generator(seed, "forced", row) for row in range(rows)]
    return lambda row, text: propose([Slot(text, None, rngs[row])])[0]
