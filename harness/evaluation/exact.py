"""A policy beside a known law: its probabilities in the states of expert texts, of its own texts, and of any text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.evaluation.marginal import Prefix, Writer
from harness.generation.decoders import Decoder, Greedy
from harness.models.batching import BATCH_ROWS, slices
from harness.models.policy import Policy
from harness.records.data import Example
from harness.records.evaluation import ExactStep
from harness.records.law import Law, steps
from harness.records.rollout import Rollout, Trajectory

BATCH_NODES = 2**15  # nodes of one forward pass over texts of one length


def expert_steps(policy: Policy, law: Law, examples: Sequence[Example]) -> Iterator[ExactStep]:
    """The policy's law beside the true one in every state of expert texts, prompts left out, ends included."""
    tokens = [(*policy.encode(example.text), policy.end_id) for example in examples]
    yield from _steps(policy, law, tokens, [example.text for example in examples])


def own_steps(policy: Policy, law: Law, rollouts: Sequence[Rollout]) -> Iterator[ExactStep]:
    """The policy's law beside the true one in every state of rollouts' reduced texts, finished or cut off.

    Texts that continue a prompt have no such states and are left out.
    """
    symbols = {policy.encode(symbol)[0]: symbol for symbol in law.alphabet}
    tokens, texts = [], []
    for rollout in rollouts:
        if len(rollout.trajectory.prompt) == 1 and (rollout.tokens or rollout.stop == "ended"):
            tokens.append((*rollout.tokens, *[policy.end_id] * (rollout.stop == "ended")))
            texts.append("".join(symbols.get(token, "\ufffd") for token in rollout.tokens))
    yield from _steps(policy, law, tokens, texts)


@torch.no_grad()
def _steps(policy: Policy, law: Law, tokens: Sequence[Sequence[int]], texts: Sequence[str]) -> Iterator[ExactStep]:
    """One step for each token: the state before it."""
    outcomes = (*law.alphabet, "")
    where = torch.tensor([*(policy.encode(symbol)[0] for symbol in law.alphabet), policy.end_id], device=policy.device)
    unknown = np.full(len(outcomes), -np.inf)
    backspace = policy.space.backspace_id
    pairs = list(zip(tokens, texts, strict=True))
    for part in slices(pairs, BATCH_ROWS):
        rows = [Trajectory((policy.start_id,), tuple(row)) for row, _ in part]
        batch = pack(rows, policy.space, Weighting(kind="uniform")).to(policy.device)
        log_probs = policy.logits(policy.state_hidden(batch)[:, :-1], batch.backspace_legal).log_softmax(-1)
        log_probs = _one_end(policy, log_probs, torch.logsumexp, -torch.inf)
        known = log_probs[..., where].double().cpu().numpy()
        deletes = None if backspace is None else log_probs[..., backspace].double().cpu().numpy()
        for n, (row, text) in enumerate(part):
            for t, (_, chances) in zip(range(len(row)), steps(law, text), strict=False):
                with np.errstate(divide="ignore"):
                    true = np.log([chances.get(outcome, 0.0) for outcome in outcomes]) if chances else unknown
                yield ExactStep(true, known[n, t], -np.inf if deletes is None else float(deletes[n, t]), t)


def writer(policy: Policy, law: Law, decoder: Decoder | Greedy, max_length: int | None) -> Writer:
    """The policy's distribution of texts from the empty prompt, under `decoder`, up to `max_length` tokens."""
    token = {symbol: policy.encode(symbol)[0] for symbol in law.alphabet}
    return Writer(
        chances=lambda prefixes: chances(policy, decoder, prefixes),
        token={symbol: known for symbol, known in token.items() if known not in policy.space.never_injected},
        end=policy.end_id,
        backspace=policy.space.backspace_id,
        longest=min(max_length or policy.context, policy.context - 1) - 1,
    )


@torch.no_grad()
def chances(policy: Policy, decoder: Decoder | Greedy, prefixes: Sequence[Prefix]) -> np.ndarray:
    """Probabilities [M, V] of every action after each of M texts, float64; texts of one length share forward passes."""
    found = np.zeros((len(prefixes), policy.space.size))
    lengths = np.array([len(prefix) for prefix in prefixes])
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        legal = torch.tensor(length > 0, device=policy.device)
        for rows in np.array_split(same, -(-len(same) * (length + 1) // BATCH_NODES)):
            ids = torch.tensor([(policy.start_id, *prefixes[row]) for row in rows.tolist()], device=policy.device)
            drawn = decoder.chances(policy.logits(policy.last_hidden(ids), legal.expand(len(rows))).double())
            drawn = _one_end(policy, drawn / drawn.sum(-1, keepdim=True), torch.sum, 0.0)
            found[rows] = drawn.cpu().numpy()
    return found


def _one_end(policy: Policy, chances: Tensor, total: Callable[[Tensor, int], Tensor], none: float) -> Tensor:
    """Chances [..., V] in which the end has those of every end, in `total`, and the others have `none`.

    All of them lead to the same text, and a law knows one end.
    """
    others = list(policy.space.other_ends)
    if not others:
        return chances
    chances = chances.clone()
    chances[..., policy.end_id] = total(chances[..., [policy.end_id, *others]], -1)
    chances[..., others] = none
    return chances
