"""Decoders: the next action by sampling from a truncated distribution, greedily, or by contrastive search.

Every decoder chooses from the whole action space, `<backspace>` and the end included.  A *deterministic* one would
write the token that it has just deleted again, and delete it again, until its budget is spent.  The sampler therefore
removes, in each state, the tokens that were written there and deleted: greedy decoding with `<backspace>` is a
depth-first search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from harness.config.sampling import SamplingConfig
from harness.errors import HarnessError

Likeness: TypeAlias = Callable[[Tensor], Tensor]
"""Candidate actions [N, K] -> [N, K] cosine, in [-1, 1], of the state after each to the earlier state most like it."""


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits [N, V], which may be -inf.

    Raises:
        HarnessError: a logit is NaN.
    """
    probs = logits.softmax(-1)
    if torch.isnan(probs[..., :1]).any():  # one NaN makes its whole row NaN
        raise HarnessError("the policy's probabilities are not numbers: its training diverged; lower training.lr")
    return probs


# --------------------------------------------------------------------------------------------------- truncations
# Each sets the logits [N, V] of dropped actions to -inf and keeps at least the likeliest action; ties stay together.


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest actions."""
    least = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, mass: float) -> Tensor:
    """Keep the smallest set of likeliest actions whose mass is at least `mass` (Holtzman et al., arXiv 1904.09751)."""
    probs, index = probabilities(logits).sort(dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs  # mass of the likelier actions: the first one is always kept
    return logits.masked_fill(torch.zeros_like(before, dtype=torch.bool).scatter(-1, index, before >= mass), -torch.inf)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Keep actions at least `share` times as likely as the likeliest (Nguyen et al., arXiv 2407.01082)."""
    probs = probabilities(logits)
    return logits.masked_fill(probs < share * probs.amax(-1, keepdim=True), -torch.inf)


def typical(logits: Tensor, mass: float) -> Tensor:
    """Keep the actions whose surprise is nearest to the entropy, up to `mass` (Meister et al., arXiv 2202.00666)."""
    probs, log_probs = probabilities(logits), logits.log_softmax(-1)
    entropy = -(probs * log_probs).nansum(-1, keepdim=True)
    distance, index = (-log_probs - entropy).abs().sort(dim=-1, stable=True)
    needed = (probs.gather(-1, index).cumsum(-1) < mass).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    farther = distance > distance.gather(-1, needed)
    return logits.masked_fill(torch.zeros_like(farther).scatter(-1, index, farther), -torch.inf)


def eta(logits: Tensor, epsilon: float) -> Tensor:
    """Drop actions below min(epsilon, sqrt(epsilon) exp(-entropy)) (Hewitt et al., arXiv 2210.15191, equation 6)."""
    probs = probabilities(logits)
    entropy = -(probs * logits.log_softmax(-1)).nansum(-1, keepdim=True)
    least = (epsilon**0.5 * torch.exp(-entropy)).clamp(max=epsilon)
    return logits.masked_fill((probs < least) & (probs < probs.amax(-1, keepdim=True)), -torch.inf)


# ------------------------------------------------------------------------------------------------------ decoders


@dataclass(frozen=True)
class Decoder:
    """Sampling from the policy's shaped distribution.  The default is ancestral: nothing changed, nothing cut.

    The bias first (an action, and a number added to its logit; -inf never draws it), then the temperature, then the
    truncations in the order of the fields, each on the renormalised rest of the one before: transformers' order.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    eta: float = 0.0
    bias: tuple[int, float] | None = None
    deterministic: ClassVar[bool] = False

    def shaped(self, logits: Tensor) -> Tensor:
        """Logits [N, V] after bias, temperature and truncations; a cut action is -inf."""
        if self.bias is not None:
            action, added = self.bias
            logits = logits.clone()
            logits[:, action] += added
        logits = logits if self.temperature == 1 else logits / self.temperature
        cuts: tuple[tuple[Callable[[Tensor, Any], Tensor], float, bool], ...] = (
            (top_k, self.top_k, self.top_k > 0),
            (top_p, self.top_p, self.top_p < 1),
            (min_p, self.min_p, self.min_p > 0),
            (typical, self.typical_p, self.typical_p < 1),
            (eta, self.eta, self.eta > 0),
        )
        for cut, amount, used in cuts:
            logits = cut(logits, amount) if used else logits
        return logits

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities [N, V] with which actions are drawn, from logits [N, V] (illegal ones -inf)."""
        return probabilities(self.shaped(logits))

    def draw(self, logits: Tensor, uniform: Tensor, likeness: Likeness | None = None) -> Tensor:
        """Actions [N] by inverse CDF from logits [N, V] (illegal ones -inf) and uniform numbers [N] in [0, 1)."""
        probs = self.chances(logits)
        total = probs.cumsum(-1)
        point = uniform.to(total.dtype)[:, None] * total[:, -1:]
        drawn = torch.searchsorted(total, point, right=True)[:, 0]
        if (drawn == probs.shape[-1]).any():  # rounding pushed the point onto the total: the last action with any mass
            last = probs.shape[-1] - 1 - (probs > 0).flip(-1).int().argmax(-1)
            drawn = torch.minimum(drawn, last)
        return drawn


@dataclass(frozen=True)
class Greedy:
    """Greedy decoding: the likeliest action."""

    deterministic: ClassVar[bool] = True

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities [N, V]: 1 for the action that is drawn."""
        return torch.nn.functional.one_hot(self.draw(logits, logits), logits.shape[-1]).to(logits.dtype)

    def draw(self, logits: Tensor, uniform: Tensor, likeness: Likeness | None = None) -> Tensor:
        """Actions [N] from logits [N, V]; of equally likely ones the first."""
        return probabilities(logits).argmax(-1)


@dataclass(frozen=True)
class Contrastive:
    """Contrastive search (Su et al., arXiv 2202.06417, equation 5): a likely action to an unfamiliar state.

    Of the `k` likeliest actions v the one with the largest (1 - alpha) pi(v|s) - alpha max_j cos(h(v), h_j), where h(v)
    is the last hidden state after v and h_j those of the reduced text's tokens, prompt included.  The end is a token
    like any other.  `<backspace>` leads back to a state h of the text, whose cosine with itself is always 1: h is
    compared with the states before it, and its cosine is 0 where there are none.
    """

    k: int
    alpha: float
    deterministic: ClassVar[bool] = True

    def draw(self, logits: Tensor, uniform: Tensor, likeness: Likeness | None = None) -> Tensor:
        """Actions [N] from logits [N, V] and the likeness of the states that they lead to."""
        assert likeness is not None
        likely = probabilities(logits).topk(min(self.k, logits.shape[-1]), dim=-1)
        value = (1 - self.alpha) * likely.values - self.alpha * likeness(likely.indices)
        illegal = logits.gather(-1, likely.indices) == -torch.inf
        best = value.masked_fill(illegal, -torch.inf).argmax(-1, keepdim=True)
        return likely.indices.gather(-1, best)[:, 0]


AnyDecoder: TypeAlias = Decoder | Greedy | Contrastive


def decoder_of(sampling: SamplingConfig, backspace_id: int | None = None) -> AnyDecoder:
    """The decoder of a configuration, whose `temperature: best` must have been replaced by a number.

    `backspace_id` is the policy's `<backspace>`, for the bias on it.
    """
    return _MAKE[sampling.decoder](sampling, backspace_id)


def _sampler(sampling: SamplingConfig, backspace_id: int | None) -> Decoder:
    """The decoder of `decoder: sample`."""
    assert sampling.temperature != "best", "tune the temperature first"
    added = -math.inf if sampling.backspace_bias == "masked" else float(sampling.backspace_bias)
    return Decoder(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        typical_p=sampling.typical_p,
        eta=sampling.eta,
        bias=None if backspace_id is None or not added else (backspace_id, added),
    )


_MAKE: dict[str, Callable[[SamplingConfig, int | None], AnyDecoder]] = {
    "sample": _sampler,
    "greedy": lambda sampling, _: Greedy(),
    "contrastive": lambda sampling, _: Contrastive(sampling.top_k, sampling.penalty_alpha or 0.0),
}
