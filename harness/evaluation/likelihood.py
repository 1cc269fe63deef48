"""Likelihood of whole texts by a sliding window: every token scored once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.actions.batch import Batch, pack
from harness.actions.weights import Weighting
from harness.generation.prompts import prompt_tokens
from harness.models.batching import BATCH_LOGITS, batches
from harness.models.policy import Policy
from harness.records.data import Example
from harness.records.evaluation import Likelihood
from harness.records.rollout import Trajectory


def likelihood(
    policy: Policy, examples: Sequence[Example], *, window: int | None = None, stride: int | None = None
) -> Likelihood:
    """Likelihood of whole texts by a sliding window; every token after the prompt is scored exactly once.

    Args:
        policy: the policy that gives the probabilities.
        examples: the texts; a prompt is context and not scored.  The end token is scored, the start token is not; of
            several ends that a policy may choose, only the one of `Codec.end_id`.
        window: tokens seen at once (default: the context).
        stride: tokens by which the window moves; all but a text's first window score their last `stride` tokens
            (default: half the window, so that every token but a text's first ones sees at least half a window).
    """
    window = min(window or policy.context, policy.context)
    texts = [
        (len(prompt_tokens(policy, e.prompt)), [*prompt_tokens(policy, e.prompt), *policy.whole(e.prompt, e.text)])
        for e in examples
    ]
    nll, masked, count = token_nll(policy, texts, window, stride or window // 2)
    return Likelihood(
        nll=nll,
        masked_nll=masked,
        tokens=count,
        words=sum(len(example.text.split()) for example in examples),
        bytes=sum(len(example.text.encode("utf-8", "surrogatepass")) for example in examples),
        documents=len(examples),
        window=window,
        stride=stride or window // 2,
        tokenizer=policy.tokenizer_id,
    )


def token_nll(
    policy: Policy, texts: Sequence[tuple[int, Sequence[int]]], window: int, stride: int
) -> tuple[float, float, int]:
    """Summed NLL in nats of texts given as (first scored index, token ids): raw; without `<backspace>`; token count.

    The first token of a text has no context and cannot be scored, so the first scored index is at least 1.

    Raises:
        ValueError: a stride of a whole window or more, which would leave tokens without context.
    """
    if not 0 < stride < window:
        raise ValueError(f"stride={stride} is not between 1 and window - 1 = {window - 1}")
    windows: list[tuple[int, Sequence[int]]] = []  # (first scored index inside the window, its tokens)
    for first, tokens in texts:
        done = max(1, first)
        begin = 0
        while done < len(tokens):
            end = min(len(tokens), begin + window)
            if end > done:
                windows.append((done - begin, tokens[begin:end]))
                done = end
            begin += stride
    raw = masked = 0.0
    count = 0
    shortest_first = sorted(windows, key=lambda pair: len(pair[1]))
    for chunk in batches(shortest_first, BATCH_LOGITS // policy.space.size, lambda pair: len(pair[1])):
        batch = _texts_as_batch(policy, [tokens for _, tokens in chunk])
        scored = torch.zeros(batch.action.shape, dtype=torch.bool, device=policy.device)
        for row, (first, tokens) in enumerate(chunk):
            scored[row, first - 1 : len(tokens) - 1] = True  # action t writes token t + 1
        log_probs, without = _step_log_probs(policy, batch, scored)
        raw -= float(log_probs.double().sum())
        masked -= float(without.double().sum())
        count += len(log_probs)
    return raw, masked, count


def _texts_as_batch(policy: Policy, texts: Sequence[Sequence[int]]) -> Batch:
    rows = [Trajectory((tokens[0],), tuple(tokens[1:])) for tokens in texts]
    ended_twice = [row for row in rows if policy.end_id in row.actions[:-1]]
    assert not ended_twice, "a text holds the end token"
    return pack(rows, policy.space, Weighting(kind="uniform")).to(policy.device)


@torch.no_grad()
def _step_log_probs(policy: Policy, batch: Batch, scored: Tensor) -> tuple[Tensor, Tensor]:
    """log pi(a|s) of the S `scored` ([N, A] bool) actions, [S]: raw, and renormalised without `<backspace>`."""
    logits = policy.logits(policy.state_hidden(batch)[:, :-1][scored], batch.backspace_legal[scored])
    chosen = logits.gather(-1, batch.action[scored][:, None])[:, 0]
    backspace = policy.space.backspace_id
    if backspace is None:
        raw = chosen - logits.logsumexp(-1)
        return raw, raw
    deletes = logits[:, backspace].clone()
    logits[:, backspace] = -torch.inf
    others = logits.logsumexp(-1)
    return chosen - torch.logaddexp(others, deletes), chosen - others
