"""Property 8, injected mistakes: what each step weighs, what teaches nothing, and the mass Z of the starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
import torch
from oracle.cases import BACKSPACE, GAMMA, KAPPA
from oracle.tabular import FLOAT, batch, evaluator, loss, space
from oracle.third_party import DIVERGENCE_NAMES
from oracle.world import Row, World, chain
from tiny_policies import tiny_policy

from harness.actions.batch import Batch, pack
from harness.actions.noise import uniform
from harness.actions.space import ActionSpace
from harness.actions.weights import Weighting, step_weights
from harness.config.run import RunConfig
from harness.data.stream import ExpertStream
from harness.plugins.trainer import Evaluate, Loss, Moment, Needs, Replay, Trainer
from harness.records import Trajectory
from harness.training.loop import fit
from harness.training.replay_buffer import StartMeasure
from trainers.bc import BC
from trainers.mle import MLE
from trainers.sequence_match import SequenceMatch
from trainers.td_mle import TDMLE

SPACE = ActionSpace(size=12, end_id=10, backspace_id=11)
BACK, END = 11, 10


def weights_of(actions: tuple[int, ...], injected: set[int], gamma: float, kappa: float = 1.0) -> list[float]:
    """Step weights and w_abs of one expert row."""
    row = Trajectory((3,), actions, tuple(t in injected for t in range(len(actions))))
    packed = pack([row], SPACE, Weighting(gamma=gamma, kappa=kappa), dtype=FLOAT)
    return [*packed.weight[0].tolist(), packed.end_weight.item()]


def test_8_one_wrong_token() -> None:
    """5 (9) back 6 end at gamma = .95: 1, 0, .95, .95 + .95^2 = 1.8525, 1.759875; w_abs = 1.67188125/.05."""
    expected = [1, 0, 0.95, 1.8525, 1.759875, 33.437625]
    assert weights_of((5, 9, BACK, 6, END), {1}, 0.95) == pytest.approx(expected, abs=1e-12)


def test_8_three_wrong_tokens() -> None:
    """5 (9 8 7) back back back end at gamma = 1/2, kappa = 2: one event of mass 2 * 1/2 = 1, however long.

    Its backspaces weigh 1, 1/2, 1/4 and give back 1/8, which meets the clean flow 1/2: end 5/8; w_abs = (5/16) 2.
    """
    expected = [1, 0, 0, 0, 1, 0.5, 0.25, 0.625, 0.625]
    assert weights_of((5, 9, 8, 7, BACK, BACK, BACK, END), {1, 2, 3}, 0.5, 2.0) == pytest.approx(expected, abs=1e-12)


def test_8_two_events_do_not_feed_each_other_s_mass() -> None:
    """(9) back 5 (9) back end at gamma = 1/2: the second event has mass gamma^1, though more flow passes there.

    back 1; 5: 1 + 1/2 = 3/2; back 1/2; end 3/4 + 1/4 = 1; w_abs = (1/2) 2.
    """
    assert weights_of((9, BACK, 5, 9, BACK, END), {0, 3}, 0.5) == pytest.approx([0, 1, 1.5, 0, 0.5, 1, 1], abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_expert", [True, False])
def test_8_weights_are_the_visits_of_the_row_s_own_chain(seed: int, is_expert: bool) -> None:
    """Random rows with runs of 1 to 3 mistakes: w_t (1 - gamma) = the linear system's occupancy of step t."""
    rng, world = np.random.default_rng(seed), World(tokens=2, length=7, backspace=True)
    actions: list[int] = []
    injected: list[bool] = []
    if is_expert:
        for action in [*rng.integers(0, 2, size=rng.integers(0, 5)).tolist(), world.end]:
            run = int(rng.integers(1, 4)) if rng.random() < 0.5 else 0
            actions += [*rng.integers(0, 2, size=run).tolist(), *[world.back] * run, action]
            injected += [True] * run + [False] * (run + 1)
    else:  # given tokens that the policy deletes or keeps as it likes
        actions, injected = [0, 1, 0, world.back, 1, world.back, world.back, 1, world.end], [True] * 2 + [False] * 7
    row = Row(tuple(actions), tuple(injected), 1.0)
    trajectory = Trajectory((world.prompt,), row.actions, row.injected)
    weight, after = step_weights(trajectory, Weighting(gamma=GAMMA, kappa=KAPPA), is_expert=is_expert)
    _, _, visits = chain(world, row, GAMMA, KAPPA if is_expert else None)
    own = weight[~np.asarray(injected)]
    assert (weight[np.asarray(injected)] == 0).all()
    assert own * (1 - GAMMA) == pytest.approx(visits[:-1].tolist(), abs=1e-12)
    assert after == pytest.approx(float(visits[-1]), abs=1e-12)


@pytest.mark.parametrize(
    "trainer",
    [
        *(MLE(), BC(GAMMA), TDMLE(gamma=GAMMA), SequenceMatch(gamma=GAMMA, value_weighting="uniform")),
        *(SequenceMatch(divergence=name, gamma=GAMMA, value="logsumexp") for name in DIVERGENCE_NAMES),
    ],
    ids=["mle", "bc", "td_mle", "uniform", *DIVERGENCE_NAMES],
)
def test_8_the_injected_step_teaches_nothing(trainer: Trainer) -> None:
    """Neither log pi(z|s_i) nor V(s_i) - gamma V(s_i z) of the injected step enters: no gradient, exactly."""
    world = World(tokens=2, length=3, backspace=True)
    row = Row((0, 1, 0, world.back, world.back, world.end), (False, True, True, False, False, False), 1.0)
    packed = batch(world, trainer, [row])
    values = evaluator(world, world.random_logits(0))(packed)
    parts = {
        name: getattr(values, name).clone().requires_grad_()
        for name in ("log_prob", "value", "next_value", "end_value")
    }
    total = loss(trainer, lambda batch, reference=False: replace(values, **parts), packed).total
    gradients = torch.autograd.grad(total, list(parts.values()), allow_unused=True)
    for gradient in gradients[:3]:
        if gradient is not None:
            assert (gradient[0, 1:3] == 0).all()
    assert gradients[0] is not None
    assert (gradients[0][0, [0, 3, 4, 5]] != 0).all(), "every other step does teach"


def test_backspace_at_the_boundary_has_no_probability() -> None:
    """With logits 0 everywhere the empty text has three legal actions: -log pi = log 3; after one token four."""
    world = BACKSPACE.world
    packed = batch(world, MLE(), [Row((0, world.end), (False, False), 1.0)])
    values = evaluator(world, torch.zeros(len(world.pairs), dtype=FLOAT))(packed)
    assert (-values.log_prob[0]).exp().tolist() == pytest.approx([3, 4])
    with pytest.raises(ValueError, match="illegal"):
        pack([Trajectory((world.prompt,), (world.back, world.end))], space(world), Weighting())


# --------------------------------------------------------------------------------------------------- the mass Z

CLEAN = [Trajectory((3,), (5, 6, END)), Trajectory((3,), (END,)), Trajectory((3,), (5, 6, 7, 8, END))]


WRITABLE = replace(SPACE, unwritable=frozenset({0, 1, 2, 3, END, BACK}))


def start_measure(start: Literal["prompt", "matched"]) -> StartMeasure:
    """Uniform mistakes at rate .4."""
    return StartMeasure(CLEAN, Weighting(gamma=GAMMA, kappa=KAPPA), start, 0.4, 1, uniform(WRITABLE), 200)


def test_Z_is_the_expected_mass_of_all_starts() -> None:
    """Z = 1 + kappa rate mean_rows sum_k gamma^k, the place before the end included.

    gamma = .9: rows of 3, 1 and 5 actions have 2.71, 1 and 4.0951, mean 2.6017; at rate .4, kappa .8: 1.832544.
    """
    assert start_measure("matched").mass == pytest.approx(1 + 0.8 * 0.4 * (2.71 + 1 + 4.0951) / 3, abs=1e-12)
    assert start_measure("prompt").mass == 1


def test_Z_multiplies_the_rollouts() -> None:
    """Twice the mass, twice what the rollouts add to the mixture's loss."""
    case, trainer = BACKSPACE, SequenceMatch(gamma=GAMMA, value="logsumexp")
    evaluate, expert = evaluator(case.world, case.world.random_logits(0)), batch(case.world, trainer, case.expert)
    alone = loss(trainer, evaluate, expert).total
    added = [
        float(loss(trainer, evaluate, expert, batch(case.world, trainer, case.buffer, is_expert=False, scale=z)).total)
        - float(alone)
        for z in (1.0, 2.0)
    ]
    assert added[1] == pytest.approx(2 * added[0], abs=1e-12)
    assert added[0] > 1e-4


@dataclass(frozen=True)
class Scales:
    """Maximum likelihood that wants rollouts, and reports what their first own step weighs."""

    needs = Needs(
        weighting=Weighting(gamma=GAMMA, kappa=KAPPA), rollouts=Replay(size=4, fresh=4, every=1, start="matched")
    )

    def loss(self, evaluate: Evaluate, expert: Batch, rollouts: Batch | None, moment: Moment) -> Loss:
        assert rollouts is not None
        total = -(expert.weight * evaluate(expert).log_prob).sum(1).mean()
        return Loss(total, {"first": rollouts.weight.max(1).values.mean()})


def test_training_gives_rollouts_the_mass_Z() -> None:
    """The text `abc`: C = (1 - .9^4)/.1 = 3.439, Z = 1 + .8 * .3 * C; a rollout's first step weighs Z/C."""
    policy = tiny_policy()
    rows = [Trajectory((policy.start_id,), (*policy.encode("abc"), policy.end_id))]
    config = RunConfig.model_validate(
        {
            "benchmark": "language",
            "trainer": "mle",
            "actions": {"backspace": True, "noise_rate": 0.3},
            "training": {"steps": 1, "rows": 4},
        }
    )
    stream = ExpertStream(rows, policy.space, config.actions, uniform(policy.space), context=policy.context, seed=0)
    (step,) = fit(policy, Scales(), stream, config)
    assert step.terms["first"] == pytest.approx((1 + 0.8 * 0.3 * 3.439) / 3.439, abs=1e-12)


def test_matched_starts_follow_the_noise_measure() -> None:
    """60,000 seeded starts: prompts 1/Z of them; s_i z in proportion to kappa gamma^i, z any of 5 to 9 but the next.

    Each of the cells' shares lies within 5 standard errors of its exact probability.
    """
    measure, count = start_measure("matched"), 60_000
    drawn = [start.given for start in measure.draw(count, np.random.default_rng(0))]
    expected: dict[tuple[int, ...], float] = {(): 1 / measure.mass}
    for row in CLEAN:
        for i, action in enumerate(row.actions):
            wrong = [z for z in range(4, 10) if z != action]
            for z in wrong:
                given = (*row.actions[:i], z)
                share = 0.4 * KAPPA * GAMMA**i / len(wrong) / len(CLEAN) / measure.mass
                expected[given] = expected.get(given, 0.0) + share
    assert sum(expected.values()) == pytest.approx(1)
    assert set(drawn) <= set(expected)
    for given, share in expected.items():
        assert abs(drawn.count(given) / count - share) < 5 * (share * (1 - share) / count) ** 0.5, given
