"""From expert texts to a seeded stream of packed expert rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.actions import ActionSpace, sizes
from harness.config import ActionConfig, RunConfig
from harness.errors import ConfigError
from harness.noise import Propose, inject, replace_context
from harness.plugins import Weighting
from harness.policy import Policy
from harness.records import Example, Splits, Trajectory
from harness.streams import generator


def rows(examples: Sequence[Example], policy: Policy) -> list[Trajectory]:
    """Texts cut into windows of the context length, every token an action exactly once.

    The first window of a text starts with the start token (and the example's prompt); a later one starts with the
    token before it, on which there is no loss.  A row holds the end token only when the text ends inside it.
    """
    found = []
    for example in examples:
        prompt = [policy.start_id, *policy.encode(example.prompt)] if example.prompt else [policy.start_id]
        tokens = [*prompt, *policy.follow(example.prompt, example.text), policy.end_id]
        room = policy.context - len(prompt)
        if room < 1:
            raise ConfigError(
                f"model.context={policy.context}: a prompt of {len(prompt)} tokens leaves no room; raise it"
            )
        found.append(Trajectory(tuple(prompt), tuple(tokens[len(prompt) : policy.context])))
        for begin in range(policy.context - 1, len(tokens) - 1, policy.context - 1):
            window = tokens[begin : begin + policy.context]
            found.append(Trajectory((window[0],), tuple(window[1:])))
    return found


def check_whole(splits: Splits, config: RunConfig, policy: Policy | None = None) -> None:
    """Where texts count only as a whole: every one can be written, and nothing of them has to be cut or left out.

    A tokenizer that is trained here must be of characters; a loaded model's is checked once there is a `policy`.

    Raises:
        ConfigError: the tokenizer, the context or the length of rollouts is not what that needs.
    """
    if not splits.whole or (policy is None and not config.model.from_scratch):
        return
    examples = (*splits.train, *splits.validation, *splits.test)
    if config.model.from_scratch and config.model.tokenizer != "characters":
        raise ConfigError("model.tokenizer: this benchmark is about characters; use tokenizer: characters")
    if policy is None:
        sizes = {e: (len(e.prompt), len(e.text)) for e in (*examples, *splits.prompts)}
    else:
        tokens = {e: (policy.encode(e.prompt), policy.follow(e.prompt, e.text)) for e in (*examples, *splits.prompts)}
        for example, (prompt, text) in tokens.items():
            if (found := policy.continuation(prompt, text)) != example.text:
                raise ConfigError(
                    f"model.name={config.model.name!r}: its tokens would write {found!r} after {example.prompt!r:.60}, "
                    f"not {example.text!r}; use a model of characters or bytes"
                )
        sizes = {example: (len(prompt), len(text)) for example, (prompt, text) in tokens.items()}
    context, length = config.model.context, config.sampling.length
    most = max(sum(sizes[example]) for example in examples) + 2
    wanted = max(most, 2 * (1 + max(sizes[example][0] for example in splits.prompts)))
    if context < wanted:
        raise ConfigError(
            f"model.context={context}: the longest text has {most} tokens with start and end, and prompts may fill "
            f"half of the context; raise it to {wanted}"
        )
    longest = max(sizes[example][1] for example in splits.prompts) + 1
    if length is not None and length < longest:
        raise ConfigError(
            f"sampling.length={length}: the longest test text has {longest} tokens with its end; raise it to that, "
            "or remove it"
        )


def training_rows(splits: Splits, policy: Policy) -> list[Trajectory]:
    """The training split as rows; equal data and tokens are cut once in a process, for most cells of a grid share them.

    The list is shared: it is not to be changed.
    """
    asked = (splits.data_hash, policy.tokenizer_id, policy.start_id, policy.end_id, policy.context)
    if asked not in _ROWS:
        while len(_ROWS) >= ROWS_KEPT:
            del _ROWS[next(iter(_ROWS))]
        _ROWS[asked] = rows(splits.train, policy)
    return _ROWS[asked]


ROWS_KEPT = 2  # a grid that alternates between two benchmarks
_ROWS: dict[tuple[str | int, ...], list[Trajectory]] = {}


class Normalizer:
    """What the rows of one optimiser step are divided by, so that a loss is nats per (weighted) token.

    One constant fixed before the run, the mean over clean training rows of sum_t gamma^t; for ablation the same mean
    over the step's own rows (all its micro-batches, expert and rollouts apart), or 1 where `pack` divides each row.
    """

    def __init__(self, expert: Sequence[Trajectory], weighting: Weighting) -> None:
        self.weighting = weighting
        self.constant = float(sizes(expert, weighting).mean())

    def of(self, rows: Sequence[Trajectory]) -> float:
        """The number for the rows of a step."""
        if self.weighting.normalisation == "batch_tokens":
            return float(sizes(rows, self.weighting).mean())
        return self.constant if self.weighting.normalisation == "constant" else 1.0


class ExpertStream:
    """Rows in a seeded order, epoch after epoch; the position alone determines what comes next.

    `propose` draws injected mistakes (None injects nothing).  A row's noise depends on the seed, its epoch and its
    own index, never on the batch it stands in.
    """

    def __init__(
        self,
        expert: Sequence[Trajectory],
        space: ActionSpace,
        noise: ActionConfig,
        propose: Propose | None,
        *,
        context: int,
        seed: int,
    ) -> None:
        self.expert = expert
        self.space = space
        self.noise = noise
        self.propose = propose
        self.context = context
        self.seed = seed
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def batch(self, position: int, count: int) -> list[Trajectory]:
        """The `count` rows from `position` (rows already seen) on, with this epoch's noise."""
        chosen, rngs = [], []
        for at in range(position, position + count):
            epoch, index = divmod(at, len(self.expert))
            row = int(self._shuffled(epoch)[index])
            chosen.append(self.expert[row])
            rngs.append(generator(self.seed, "noise", epoch, row))
        if self.propose is None:
            return chosen
        if self.noise.context_noise:
            return replace_context(chosen, rngs, self.space.end_id, self.propose, self.noise.context_noise)
        return inject(
            chosen,
            rngs,
            self.space,
            self.propose,
            rate=self.noise.noise_rate,
            run=self.noise.noise_run,
            context=self.context,
        )

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator(self.seed, "order", epoch).permutation(len(self.expert))
        return self._order
