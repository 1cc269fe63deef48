"""The probe of an architecture before anything runs: what the harness computes, held against plain forward passes.

A small random model of the architecture (see `harness/models/architectures/small.py`) reads a packed trajectory with
deletions, and writes from two prompts of unequal length; every state is also computed by the model's own forward pass
over the reduced text, nothing of the harness in between.  A model that disagrees is refused with what was measured.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.config.model import ModelConfig
from harness.errors import ConfigError
from harness.generation.rollouts import Start, sample
from harness.models import pretrained
from harness.models.architectures.head import HeadError
from harness.models.architectures.kinds import BROKEN, Kind, bounds, kind_of, longest
from harness.models.architectures.known import ADVICE
from harness.models.architectures.small import outline, small, smaller, told
from harness.models.policy import Policy
from harness.records.rollout import Trajectory
from harness.records.verdict import Verdict

TOLERANCE = 1e-3  # nats; rounding gives 1e-5, a deletion that leaves its trace gives tenths
COARSE = 0.5  # nats in bfloat16, whose rounding gives tenths in unlikely tokens of deep models
# The numbers below stand for tokens that a text may hold, and this one for `<backspace>`.
_BACK = -1
_DELETES = (3, 4, 5, 6, 7, 8, _BACK, _BACK, 9, 10, 11, 12, 13, _BACK, _BACK, _BACK, 14, 15, 16, 17)
_PLAIN = tuple(range(3, 23))


@dataclass(frozen=True)
class Architecture:
    """A transformers configuration, equal to another if all of its values are."""

    text: str
    config: Any = field(compare=False)

    @classmethod
    def of(cls, config: Any) -> Architecture:
        """That of a model's configuration."""
        return cls(config.to_json_string(use_diff=False), config)


def probe_of(model: ModelConfig) -> Verdict:
    """The verdict on the architecture of a model that is here.

    Raises:
        EnvironmentProblem: the directory holds no model.
    """
    config = pretrained.config_of(model.name, model.revision)
    limit = longest(config)
    bound = "".join(f"; {reason}" for change, reason in bounds(config) if change == limit)
    return replace(probe(Architecture.of(config)), context=limit, bound=bound)


def check_policy(policy: Policy, model: ModelConfig, verdict: Verdict | None) -> None:
    """Probe a loaded policy itself, where its architecture could not be made small; nothing is done otherwise.

    Raises:
        ConfigError: it is not computed rightly.
    """
    if verdict is None or not (verdict.measured or verdict.refused):
        found = judge(policy, policy.model)
        if found.refused is not None:
            raise ConfigError(f"model.name={model.name}: {found.refused}")


@lru_cache(maxsize=32)
def probe(architecture: Architecture) -> Verdict:
    """The verdict on an architecture, by a small random model of it."""
    config = architecture.config
    family = (getattr(config, "architectures", None) or [type(config).__name__.replace("Config", "")])[0]
    large, broken = False, "its configuration is of an unknown form"
    for candidate in smaller(config):
        try:
            if (made := small(candidate)) is None:
                large = True
                continue
            model, tokenizer = made
            plain = copy.deepcopy(model)
            policy = Policy(model, tokenizer, min(24, longest(model.config)))
            if policy.kind.keeps is None:
                policy.add_backspace()
                pretrained.append_row(plain)
            return judge(policy, plain)
        except HeadError as error:
            return Verdict(family, str(error).removeprefix("model.name: "))
        except (ConfigError, *BROKEN) as error:  # perhaps for being so small: the next is less so
            broken = told(error)
    if large:
        kind = kind_of(outline(config))
        return Verdict(kind.family, None, _keeps(kind))
    return Verdict(family, f"{family} cannot be run as a causal language model: {broken}; {ADVICE}")


def judge(policy: Policy, plain: Any) -> Verdict:
    """The verdict on a policy, given a transformers model of the same weights and rows."""
    kind = policy.kind
    tolerance = COARSE if policy.dtype == "bfloat16" else TOLERANCE
    if not (ahead := _looks_ahead(plain, policy.context)) <= tolerance:
        return Verdict(
            kind.family,
            f"{kind.family} looks at tokens that follow: log-probabilities in a state change by up to {ahead:.2g} nats "
            f"when the text goes on, so that it is no causal language model; {ADVICE}",
        )
    measured: dict[str, float] = {}
    for deletes in (False,) if policy.space.backspace_id is None else (True, False):
        for what, measure in (("packed", _packed), ("sampled", _sampled)):
            where = f"{what}, with{'' if deletes else 'out'} deletions"
            measured[where] = most = measure(policy, plain, deletes=deletes)
            if not most <= tolerance:
                return Verdict(
                    kind.family,
                    f"{kind.family} is not computed rightly: {where}, log-probabilities are up to {most:.2g} nats away "
                    f"from those of a plain forward pass over the same text; {ADVICE}",
                    measured=measured,
                )
    slow = kind.keeps is not None and not policy.new_stream().cached
    return Verdict(kind.family, None, _keeps(kind), slow, measured)


def _keeps(kind: Kind) -> str | None:
    """The sentence with which `<backspace>` is refused; None if it is not."""
    try:
        kind.check_backspace()
    except ConfigError as error:
        return str(error)
    return None


@torch.no_grad()
def fresh(plain: Any, text: Sequence[int]) -> Tensor:
    """Logits [T, V] along a text by one plain forward pass, in float32."""
    ids = torch.tensor([list(text)], device=plain.device)
    return plain(input_ids=ids, use_cache=False).logits[0].float()  # type: ignore[no-any-return]


def _words(policy: Policy) -> tuple[int, ...]:
    """Tokens that a text may hold, by the numbers that stand for them here."""
    writable = (token for token in range(policy.space.size) if token not in policy.space.unwritable)
    return tuple(islice(cycle(writable), len(_PLAIN) + 4))


def _looks_ahead(plain: Any, context: int) -> float:
    """Largest change of a log-probability when more tokens follow."""
    text = (0, *_PLAIN)[:context]
    whole, part = fresh(plain, text).log_softmax(-1), fresh(plain, text[:3]).log_softmax(-1)
    return float((whole[:3] - part).abs().max())


def _packed(policy: Policy, plain: Any, *, deletes: bool) -> float:
    """Largest difference of a log-probability in the states of two rows of unequal length."""
    back, start, words = policy.space.backspace_id, policy.start_id, _words(policy)
    written = _DELETES[: policy.context] if deletes else _PLAIN[: policy.context - 2]
    actions = tuple(back if back is not None and a == _BACK else words[a] for a in written)
    rows = [((start, words[2]), actions), ((start,), words[5:8])]
    trajectories = [Trajectory(prompt, acts, (False,) * len(acts)) for prompt, acts in rows]
    batch = pack(trajectories, policy.space, Weighting(gamma=0.9), device=policy.device)
    with torch.no_grad():
        ours = policy.logits(policy.state_hidden(batch), batch.legal)
    most = 0.0
    for n, row in enumerate(trajectories):
        for t in range(0, len(row.actions) + 1, 2 if deletes else 4):
            text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
            whole = fresh(plain, text)[-1]
            if back is not None and not bool(batch.legal[n, t]):
                whole[back] = -torch.inf
            legal = whole > -torch.inf
            gap = float((whole.log_softmax(-1) - ours[n, t].float().log_softmax(-1))[legal].abs().max())
            most = max(most, gap if gap == gap else float("inf"))
    return most


def _sampled(policy: Policy, plain: Any, *, deletes: bool) -> float:
    """Largest difference of a sampled action's log-probability, from two prompts of unequal length."""
    back, start, words = policy.space.backspace_id, policy.start_id, _words(policy)
    starts = [Start((start,)), Start((start, *words[5:10])[: policy.context - 1])]

    def force(row: int, text: tuple[int, ...]) -> int:
        return back if back is not None and len(text) > len(starts[row].prompt) else words[4]

    options: dict[str, Any] = {"epsilon": 0.5, "force": force} if deletes else {}
    most = 0.0
    for rollout in sample(policy, starts, seed=0, max_actions=8, **options):
        row = rollout.trajectory
        for t, (action, found) in enumerate(zip(row.actions, rollout.log_probs, strict=True)):
            text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
            whole = fresh(plain, text)[-1]
            if back is not None and len(text) == len(row.prompt):
                whole[back] = -torch.inf
            gap = abs(float(whole.log_softmax(-1)[action]) - found)
            most = max(most, gap if gap == gap else float("inf"))
    return most
