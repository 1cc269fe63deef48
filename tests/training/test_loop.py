"""The training loop: budgets, schedule, accumulation, metering, and that it really learns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny_policies import tiny_policy

from harness.actions.batch import Batch
from harness.actions.noise import Propose, Slot, uniform
from harness.actions.weights import Weighting
from harness.config.run import RunConfig
from harness.config.training import TrainingConfig
from harness.data.noise_sources import FromPolicy
from harness.data.stream import ExpertStream
from harness.models.policy import Policy
from harness.plugins.options import build
from harness.plugins.trainer import Evaluate, Loss, Moment, Needs, Replay, Trainer
from harness.records.rollout import Trajectory
from harness.records.training import Step
from harness.registry import TRAINERS
from harness.training.loop import Budget, Diverged, fit

TRAINER_OPTIONS: list[dict[str, Any]] = [
    {"name": "mle"},
    {"name": "bc", "gamma": 0.9, "normalisation": "batch_tokens"},
    {"name": "td_mle", "gamma": 0.9, "normalisation": "per_sequence"},
    {"name": "sequence_match", "divergence": "js", "gamma": 0.9, "alpha": 0.3},
    {"name": "sequence_match", "value_weighting": "uniform", "buffer_size": 8, "buffer_fresh": 4, "buffer_every": 2},
    {"name": "sequence_match", "gamma": 0.9, "alpha": 0.3, "buffer_size": 8, "buffer_fresh": 4, "buffer_every": 2},
]


def trained(
    options: dict[str, Any],
    training: dict[str, Any],
    *,
    policy: Policy | None = None,
    trainer: Trainer | None = None,
    propose: Propose | None = None,
) -> tuple[Policy, list[Step]]:
    policy = policy or tiny_policy(context=10)
    config = RunConfig(
        benchmark="language",
        trainer=options,
        actions={"backspace": True, "noise_rate": 0.2},
        training={"rows": 4, "lr": 1e-2, **training},
    )
    rows = [Trajectory((policy.start_id,), (*policy.encode(text), policy.end_id)) for text in ("abc", "abcdef", "f")]
    stream = ExpertStream(
        rows,
        policy.space,
        config.actions,
        propose or uniform(policy.space),
        context=policy.context,
        seed=config.seeds.train,
    )
    return policy, list(fit(policy, trainer or build(TRAINERS, config.trainer, "trainer"), stream, config))


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.parameters().values()])


@pytest.mark.parametrize("options", TRAINER_OPTIONS, ids=str)
def test_accumulation_changes_nothing(options: dict[str, Any]) -> None:
    """Three steps in micro-batches of 4, of 2 + 2, and of 2 + 1 + 1 rows end at the same float64 weights."""
    ends = [weights(trained(options, {"steps": 3, "accumulation": parts})[0]) for parts in (1, 2, 3)]
    assert float((ends[0] - ends[1]).abs().max()) < 1e-10
    assert float((ends[0] - ends[2]).abs().max()) < 1e-10


@pytest.mark.parametrize("options", TRAINER_OPTIONS, ids=str)
def test_every_trainer_learns_and_repeats_itself(options: dict[str, Any]) -> None:
    policy, steps = trained(options, {"steps": 60})
    assert steps[-1].loss < 0.7 * steps[0].loss
    assert torch.equal(weights(policy), weights(trained(options, {"steps": 60})[0]))


def test_budget_in_steps_tokens_and_seconds() -> None:
    """MLE on rows of 2 to 8 nodes and their noise: a token budget stops at the first step at or over it."""
    mle = {"name": "mle"}
    assert [trained(mle, {"steps": 7})[1][-1].step, trained(mle, {"steps": 0})[1]] == [7, []]
    tokens = trained(mle, {"tokens": 500})[1]
    assert 500 <= tokens[-1].tokens < 500 + 4 * 20
    seconds = trained(mle, {"seconds": 0.2})[1]
    assert 0.2 <= seconds[-1].seconds < 2
    for steps in (tokens, seconds):
        assert steps[-1].progress == 1
        assert [step.progress for step in steps] == sorted(step.progress for step in steps)


def test_tokens_are_counted_where_they_are_spent() -> None:
    """MLE evaluates the expert rows; chi2_mixture the rollouts too, and samples them; a reference value doubles what it
    evaluates, without a gradient."""
    bare = trained({"name": "bc", "gamma": 0.9}, {"steps": 5})[1][-1].tokens
    same = trained({"name": "sequence_match", "divergence": "js", "gamma": 0.9}, {"steps": 5})[1][-1].tokens
    double = trained({"name": "sequence_match", "divergence": "js", "gamma": 0.9, "value": "reference"}, {"steps": 5})
    mixture = trained({"name": "sequence_match", "gamma": 0.9}, {"steps": 5})[1][-1]
    assert same == bare
    assert double[1][-1].tokens == 2 * bare
    assert double[1][-1].terms["tokens_without_gradient"] == bare
    assert mixture.tokens > bare
    assert mixture.terms["sampled_actions"] > 0
    assert mixture.tokens > bare + mixture.terms["tokens_sampled"] > bare


def test_mistakes_drawn_from_the_policy_cost_tokens() -> None:
    """The same loss with other mistakes: what is drawn from the policy costs nodes without a gradient."""
    policy = tiny_policy(context=10)
    propose = FromPolicy(policy)
    _, steps = trained({"name": "mle"}, {"steps": 5}, policy=policy, propose=propose)
    assert steps[-1].terms["tokens_without_gradient"] == propose.nodes > 0
    assert steps[-1].tokens > propose.nodes
    _, steps = trained({"name": "mle"}, {"tokens": 300}, policy=policy, propose=FromPolicy(policy))
    assert steps[-1].tokens >= 300 > steps[-1].tokens - 4 * 40, "a budget in tokens counts them"
    assert "tokens_without_gradient" not in trained({"name": "mle"}, {"steps": 5})[1][-1].terms, "uniform noise"


def test_any_source_of_mistakes_says_what_it_costs() -> None:
    """Uniform mistakes at a claimed 3 nodes each: the loop adds them, whatever class the source is of."""

    class Metered:
        nodes = 0

        def __call__(self, slots: Sequence[Slot]) -> list[int]:
            self.nodes += 3 * len(slots)
            return uniform(policy.space)(slots)

    policy, propose = tiny_policy(context=10), Metered()
    free = trained({"name": "mle"}, {"steps": 5}, policy=tiny_policy(context=10))[1][-1]
    paid = trained({"name": "mle"}, {"steps": 5}, policy=policy, propose=propose)[1][-1]
    assert paid.terms["tokens_without_gradient"] == propose.nodes > 0
    assert propose.nodes % 3 == 0
    assert (paid.tokens, paid.loss) == (free.tokens + propose.nodes, free.loss)


def test_curves_have_about_fifty_points_the_first_and_the_last_among_them() -> None:
    steps = trained({"name": "mle"}, {"steps": 130})[1]
    assert 45 <= len(steps) <= 55
    assert (steps[0].step, steps[-1].step) == (1, 130)


def test_schedule_by_hand() -> None:
    """100 steps, warm-up 10: step 0 has lr/10 * (0 + .01)/.1 = .1 lr, the peak at .1, cosine's half at .55."""
    budget = Budget(TrainingConfig(steps=100, lr=1.0, warmup=0.1))
    assert budget.learning_rate(0.0) == pytest.approx(0.1)
    assert budget.learning_rate(0.05) == pytest.approx(0.6)
    assert budget.learning_rate(0.1) == pytest.approx(1.0)
    assert budget.learning_rate(0.55) == pytest.approx(0.5)
    linear = Budget(TrainingConfig(steps=100, lr=1.0, warmup=0.0, schedule="linear"))
    assert linear.learning_rate(0.25) == pytest.approx(0.75)
    constant = Budget(TrainingConfig(steps=100, lr=1.0, warmup=0.0, schedule="constant"))
    assert constant.learning_rate(0.99) == 1.0


def test_weight_decay_spares_biases_and_norms() -> None:
    """A loss without gradient: AdamW shrinks matrices by 1 - lr * decay and leaves vectors alone."""

    @dataclasses.dataclass(frozen=True)
    class Still:
        @property
        def needs(self) -> Needs:
            return Needs(weighting=Weighting(kind="uniform"))

        def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
            return Loss(0 * evaluate(expert).log_prob.sum())

    policy = tiny_policy(context=10)
    before = {name: p.detach().clone() for name, p in policy.parameters().items()}
    training = {"steps": 1, "weight_decay": 0.5, "schedule": "constant", "warmup": 0.0}
    trained({"name": "mle"}, training, policy=policy, trainer=Still())
    for name, parameter in policy.parameters().items():
        factor = 1 - 1e-2 * 0.5 if parameter.ndim > 1 else 1.0
        assert torch.allclose(parameter, before[name] * factor, atol=1e-12)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    @dataclasses.dataclass(frozen=True)
    class Broken:
        @property
        def needs(self) -> Needs:
            return Needs(weighting=Weighting(kind="uniform"))

        def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
            return Loss(evaluate(expert).log_prob.sum() * math.nan)

    with pytest.raises(Diverged, match=r"the loss is nan after 1 steps; lower training\.lr"):
        trained({"name": "mle"}, {"steps": 3}, trainer=Broken())


def test_a_frozen_reference_is_the_policy_as_training_starts() -> None:
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Distil:
        @property
        def needs(self) -> Needs:
            return Needs(weighting=Weighting(kind="uniform"), reference="start", rollouts=Replay(size=4, fresh=4))

        def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
            assert rollouts is not None
            assert not rollouts.is_expert
            teacher, own = evaluate(expert, reference=True).log_prob, evaluate(expert).log_prob
            assert not teacher.requires_grad
            seen.append((moment.progress, float((teacher - own.detach()).abs().max())))
            return Loss(-(expert.weight * own).sum(1).mean())

    trained({"name": "mle"}, {"steps": 4}, trainer=Distil())
    assert [progress for progress, _ in seen] == [0, 0.25, 0.5, 0.75]
    assert seen[0][1] < 1e-12 < 1e-3 < seen[3][1]


def test_scope_head_trains_the_output_layer_and_the_value_head_alone() -> None:
    """Ten steps with `<backspace>`: both heads move; the embeddings, tied to the output layer before, do not."""
    policy = tiny_policy(context=10)
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    inputs = policy.model.get_input_embeddings().weight
    assert policy.model.get_output_embeddings().weight is inputs
    trained({"name": "sequence_match", "gamma": 0.9}, {"steps": 10, "scope": "head"}, policy=policy)
    head = policy.model.get_output_embeddings().weight
    assert policy.untied
    assert set(policy.parameters()) == {"model.lm_head.weight", "value_head.weight", "value_head.bias"}
    assert float((head - inputs).detach().abs().max()) > 1e-3
    assert policy.value_head is not None
    assert float(policy.value_head.weight.detach().abs().max()) > 1e-3
    for name, parameter in policy.model.named_parameters():
        assert parameter is head or torch.equal(parameter, before[name])
