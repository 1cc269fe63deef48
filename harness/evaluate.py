"""From a trained policy to what metrics look at: likelihood of test texts, rollouts from prompts, exact laws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from harness.actions import ActionSpace, Batch, pack
from harness.best_of import chosen
from harness.config import RunConfig
from harness.decoders import Contrastive, decoder_of
from harness.disturb import corrupted_starts, forced_mistakes
from harness.errors import ConfigError
from harness.exact import expert_steps, own_steps, writer
from harness.features import Features
from harness.finished import enumerated, sampled
from harness.noise import Slot, ground_truth
from harness.plugins import Unscorable, Weighting
from harness.policy import CHUNK_LOGITS, Policy
from harness.records import (
    Evaluation,
    ExactStep,
    Example,
    FinishedLaw,
    Judge,
    Likelihood,
    Mistake,
    Rollout,
    Splits,
    Trajectory,
)
from harness.rollouts import Replace, Start, sample
from harness.sampling import SamplingConfig
from harness.streams import generator, key

EXACT_TEXTS = 500  # expert texts on whose states the exact law is compared
MISTAKE_TEXTS = 200  # expert texts into which mistakes are put, one at every place
CANDIDATE_ROLLOUTS = 32  # rollouts of a run that keep the likeliest actions of each state, for whoever looks at them
SAMPLE_ROWS = 256  # rows sampled at once


def evaluate(
    policy: Policy,
    splits: Splits,
    prompts: tuple[Example, ...],
    config: RunConfig,
    features: Features,
    judge: Judge | None = None,
) -> Evaluation:
    """Everything that the metrics of `config` may look at; the policy is not changed."""
    mistake, sampling, seed = splits.mistake, config.sampling, config.seeds.sample
    propose = None if mistake is None else ground_truth(mistake, policy.decode, policy.inside)

    def forced(epsilon: float) -> tuple[Rollout, ...]:
        return tuple(sample_prompts(policy, prompts, sampling, seed, epsilon))

    def forced_wrong(epsilon: float) -> tuple[Rollout, ...]:
        assert propose is not None
        force = forced_mistakes(propose, len(prompts), seed)
        return tuple(sample_prompts(policy, prompts, sampling, seed, epsilon, force))

    def corrupted(wrong: int) -> tuple[Rollout, ...]:
        assert propose is not None
        starts = corrupted_starts(policy, prompts, propose, wrong, length=sampling.length, seed=config.seeds.metric)
        return tuple(sample_starts(policy, starts, sampling, seed))

    def p_back(wrong: int) -> np.ndarray:
        assert mistake is not None
        return backspace_after(policy, splits.test[:MISTAKE_TEXTS], mistake, wrong, config.seeds.metric)

    law, rollouts = splits.law, tuple(sample_prompts(policy, prompts, sampling, seed, candidates=CANDIDATE_ROLLOUTS))
    decoder = decoder_of(sampling, policy.space.backspace_id)

    def own() -> tuple[ExactStep, ...]:
        assert law is not None
        return tuple(own_steps(policy, law, rollouts))

    def finish(texts: int | None, states: int) -> FinishedLaw:
        assert law is not None
        if isinstance(decoder, Contrastive):
            raise Unscorable("contrastive search looks at hidden states, not only at chances; use another decoder")
        if sampling.best_of > 1 or sampling.reject:
            raise Unscorable("each text was chosen among several, so their law is not the decoder's; use best_of=1")
        writes = writer(policy, law, decoder, sampling.length)
        if texts is None:
            return enumerated(writes, law, states)
        return sampled(writes, law, [example.text for example in splits.test[:texts]], states)

    return replace(
        of_texts(prompts, rollouts, policy.space, splits, config, features),
        likelihood=likelihood(policy, splits.test),
        exact_steps=() if law is None else tuple(expert_steps(policy, law, splits.test[:EXACT_TEXTS])),
        forced=cache(forced),
        forced_wrong=None if mistake is None else cache(forced_wrong),
        corrupted=None if mistake is None else cache(corrupted),
        p_back=None if mistake is None or policy.space.backspace_id is None else cache(p_back),
        mistake_texts=len(splits.test[:MISTAKE_TEXTS]),
        own_steps=None if law is None else cache(own),
        finished=None if law is None else cache(finish),
        judge=judge,
    )


def of_texts(
    prompts: tuple[Example, ...],
    rollouts: tuple[Rollout, ...],
    space: ActionSpace,
    splits: Splits,
    config: RunConfig,
    features: Features,
) -> Evaluation:
    """What metrics may look at where texts are all there is: nothing that asks the policy that wrote them."""
    return Evaluation(
        prompts=prompts,
        rollouts=rollouts,
        backspace_id=space.backspace_id,
        metric_seed=config.seeds.metric,
        train=tuple(example.text for example in splits.train),
        law=splits.law,
        features=features,
        featuriser_id=features.identify,
        paired=features.paired,
    )


def choose_prompts(policy: Policy, prompts: Sequence[Example], sampling: SamplingConfig) -> tuple[Example, ...]:
    """The first `sampling.rollouts` prompts that leave half of the context free, with what may follow them.

    Each human continuation is cut to the tokens that a rollout may write there: without the cut, texts of unequal
    length would be compared, and the longer side would seem more varied.  Policies of one tokenizer and context get
    the same prompts.

    Raises:
        ConfigError: fewer than two prompts are short enough.
    """
    chosen: list[Example] = []
    for example in prompts:
        start = prompt_tokens(policy, example.prompt)
        if len(chosen) == sampling.rollouts or len(start) > policy.context // 2:
            continue
        tokens = policy.follow(example.prompt, example.text)
        room = min(sampling.length or policy.context, policy.context - len(start))
        text = example.text if len(tokens) <= room else policy.continuation(start, tokens[:room])
        chosen.append(Example(text=text, prompt=example.prompt))
    if len(chosen) < 2:
        raise ConfigError(
            f"model.context={policy.context}: {len(chosen)} of {len(prompts)} prompts leave half of it free, wanted at "
            "least 2; raise it, or shorten the prompts (benchmark.prompt_words)"
        )
    return tuple(chosen)


def prompt_tokens(policy: Policy, prompt: str) -> tuple[int, ...]:
    """A prompt as the policy sees it: the start token, then the prompt's own."""
    return (policy.start_id, *policy.encode(prompt))


def sample_prompts(
    policy: Policy,
    prompts: Sequence[Example],
    sampling: SamplingConfig,
    seed: int,
    epsilon: float = 0.0,
    force: Replace | None = None,
    candidates: int = 0,
) -> Iterator[Rollout]:
    """One rollout for each prompt, in order, as `sample_starts`."""
    starts = [Start(prompt_tokens(policy, example.prompt)) for example in prompts]
    return sample_starts(policy, starts, sampling, seed, epsilon, force, candidates)


def sample_starts(
    policy: Policy,
    starts: Sequence[Start],
    sampling: SamplingConfig,
    seed: int,
    epsilon: float = 0.0,
    force: Replace | None = None,
    candidates: int = 0,
) -> Iterator[Rollout]:
    """One rollout from each start, in order; start i draws from stream i of `seed` in whatever batch it stands.

    `epsilon` is the chance that an action is replaced by what `force` says, or by a uniformly random legal one; what is
    not replaced is drawn from the same stream as without, so that a policy is compared with itself.
    The first `candidates` rollouts keep the likeliest actions of each state.  Where `sampling` keeps some of several
    texts, see `chosen`.
    """
    decoder = decoder_of(sampling, policy.space.backspace_id)

    def write(which: Sequence[int], again: int) -> Iterator[Rollout]:
        stream = key(seed, "evaluation", again) if again else key(seed, "evaluation")
        for begin in range(0, len(which), SAMPLE_ROWS):
            rows = which[begin : begin + SAMPLE_ROWS]
            yield from sample(
                policy,
                [starts[row] for row in rows],
                seed=stream,
                rows=rows,
                decoder=decoder,
                epsilon=epsilon,
                force=force,
                max_length=sampling.length,
                candidates=sum(row < candidates for row in rows),
            )

    if sampling.best_of == 1 and not sampling.reject:
        return write(range(len(starts)), 0)
    return iter(chosen(lambda which, again: list(write(which, again)), len(starts), sampling))


# ------------------------------------------------------------------------------------------------- likelihood


def likelihood(
    policy: Policy, examples: Sequence[Example], *, window: int | None = None, stride: int | None = None
) -> Likelihood:
    """Likelihood of whole texts by a sliding window; every token after the prompt is scored exactly once.

    Args:
        policy: whose likelihood.
        examples: the texts; a prompt is context and not scored.  The end token is scored, the start token is not.
        window: tokens seen at once (default: the context).
        stride: how far the window moves; all but a text's first window score their last `stride` tokens (default:
            half the window, so that every token but a text's first ones sees at least half a window).
    """
    window = min(window or policy.context, policy.context)
    texts = [
        (len(prompt_tokens(policy, e.prompt)), [*prompt_tokens(policy, e.prompt), *policy.follow(e.prompt, e.text)])
        for e in examples
    ]
    nll, masked, count = token_nll(
        policy, [(first, [*tokens, policy.end_id]) for first, tokens in texts], window, stride or window // 2
    )
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
    """Summed NLL in nats of texts given as (first scored index, token ids): raw, without `<backspace>`, and how many.

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
    windows.sort(key=lambda pair: len(pair[1]))
    raw = masked = 0.0
    count = 0
    for chunk in _chunks(windows, policy.space.size):
        batch = _texts_as_batch(policy, [tokens for _, tokens in chunk])
        scored = torch.zeros(batch.action.shape, dtype=torch.bool, device=policy.device)
        for row, (first, tokens) in enumerate(chunk):
            scored[row, first - 1 : len(tokens) - 1] = True  # action t writes token t + 1
        log_probs, without = _step_log_probs(policy, batch, scored)
        raw -= float(log_probs.double().sum())
        masked -= float(without.double().sum())
        count += len(log_probs)
    return raw, masked, count


def _chunks(windows: Sequence[tuple[int, Sequence[int]]], vocabulary: int) -> Iterator[list[tuple[int, Sequence[int]]]]:
    """Windows of similar length whose logits fit into memory together."""
    chunk: list[tuple[int, Sequence[int]]] = []
    for pair in windows:
        if chunk and (len(chunk) + 1) * len(pair[1]) * vocabulary > CHUNK_LOGITS:
            yield chunk
            chunk = []
        chunk.append(pair)
    if chunk:
        yield chunk


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


# ------------------------------------------------------------------------------------------------------- mistakes


@torch.no_grad()
def backspace_after(policy: Policy, examples: Sequence[Example], mistake: Mistake, wrong: int, seed: int) -> np.ndarray:
    """[S, wrong] pi(<backspace>|s) after 1, ..., `wrong` mistakes in a row, at every place of the expert texts.

    A place is before any token of a text or before its end; places whose mistakes would not fit into the context are
    left out.  Each text is one row that makes the mistakes, deletes them and goes on, so one forward pass sees it all.
    """
    assert policy.space.backspace_id is not None
    propose = ground_truth(mistake, policy.decode, policy.inside)
    rows, looked = [], []  # each row's trajectory, and the actions in whose states the policy is asked
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
            rows.append(Trajectory(prompt, tuple(actions)))
            looked.append(at)
    found = [np.zeros((0, wrong))]
    for begin in range(0, len(rows), SAMPLE_ROWS):
        batch = pack(rows[begin : begin + SAMPLE_ROWS], policy.space, Weighting(kind="uniform")).to(policy.device)
        hidden = policy.hidden(batch)
        for row, at in enumerate(looked[begin : begin + SAMPLE_ROWS]):
            states = hidden[row, batch.states[row, at]]
            log_probs = policy.logits(states, batch.legal[row, at]).log_softmax(-1)
            chances = log_probs[:, policy.space.backspace_id].double().exp().cpu().numpy()
            found.append(chances.reshape(-1, wrong))
    return np.concatenate(found)
