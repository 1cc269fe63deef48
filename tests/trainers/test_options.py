"""The options for ablation: how weights are normalised and V-terms counted, alpha at equal strength, and `td_mle`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
import torch
from oracle.cases import ALPHA, CASES, GAMMA, KAPPA, PLAIN, Case
from oracle.objective import Problem, minimise
from oracle.tabular import FLOAT, batch, batches, evaluator, loss, sequence_match
from oracle.third_party import DIVERGENCE_NAMES
from oracle.world import Row, World, chain, measure
from torch import Tensor

from harness.actions.batch import pack
from harness.actions.space import ActionSpace
from harness.actions.weights import Normalisation, Weighting
from harness.data.stream import Normalizer
from harness.plugins.options import options
from harness.plugins.trainer import BIASED, Trainer
from harness.records import Trajectory
from harness.registry import TRAINERS
from trainers.bc import BC
from trainers.divergences import DIVERGENCES
from trainers.mle import MLE
from trainers.sequence_match import SequenceMatch
from trainers.td_mle import TDMLE

both_worlds = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SPACE = ActionSpace(size=12, end_id=10, backspace_id=11)


# ---------------------------------------------------------------------------------------------- normalisation


def test_per_sequence_divides_each_row_by_its_own_size() -> None:
    """gamma = 1/2.  5 6 end: size 7/4, weights 1 1/2 1/4 over it, w_abs = 2/8 over it.

    (9) back end: size 3/2 of two own steps; back weighs kappa = 1, the end 1 + 1/2; w_abs = 2 * 3/4 = 3/2.
    """
    rows = [Trajectory((3,), (5, 6, 10)), Trajectory((3,), (9, 11, 10), (True, False, False))]
    packed = pack(rows, SPACE, Weighting(gamma=0.5, normalisation="per_sequence"), dtype=FLOAT)
    assert packed.weight.flatten().tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0, 2 / 3, 1], abs=1e-12)
    assert packed.end_weight.tolist() == pytest.approx([1 / 7, 1], abs=1e-12)


@pytest.mark.parametrize("trainer", [MLE, BC, SequenceMatch, TDMLE])
def test_every_trainer_hands_its_normalisation_on(trainer: type[MLE | BC | SequenceMatch | TDMLE]) -> None:
    """And says in its description, as `harness info` prints it, which ones are biased."""
    for kind in get_args(Normalisation):
        assert trainer(normalisation=kind).needs.weighting.normalisation == kind
    (described,) = (option.description for option in options(trainer) if option.name == "normalisation")
    assert "(biased)" in described
    assert {kind for key, kind in BIASED if key == "trainer.normalisation"} == {"batch_tokens", "per_sequence"}


def geometric(count: int = 37) -> list[Row]:
    """The texts "", a, aa, ... with probability 1/2, 1/4, 1/8, ...; the last one takes what is left."""
    return [Row((*(0,) * n, 1), (False,) * (n + 1), 0.5 ** min(n + 1, count - 1)) for n in range(count)]


def coin(trainer: Trainer, rows: Sequence[Row]) -> float:
    """The chance of ending that a policy with one such chance for all states learns."""
    world = World(tokens=1, length=36, backspace=False)
    expert = batch(world, trainer, rows)
    is_end = world.columns[1] == world.end

    def cost(x: Tensor) -> Tensor:
        return loss(trainer, evaluator(world, torch.where(is_end, x, 0.0)), expert).total

    return float(minimise(cost, torch.zeros(1, dtype=FLOAT))[0].sigmoid())


@pytest.mark.parametrize(
    "trainer",
    [MLE(), BC(gamma=1 - 1e-12), SequenceMatch(divergence="identity", gamma=1 - 1e-12)],
    ids=["mle", "bc", "identity"],
)
def test_12_only_a_constant_normaliser_is_proper(trainer: MLE | BC | SequenceMatch) -> None:
    """One coin for every state, P(end) = 1/2.  One constant for all rows: it learns 1/2.

    Divided by its own length N each row teaches P(end) = E[1/N] = sum_N 2^-N/N = log 2 = .693.
    """
    assert coin(trainer, geometric()) == pytest.approx(0.5, abs=1e-9)
    assert coin(replace(trainer, normalisation="per_sequence"), geometric()) == pytest.approx(math.log(2), abs=1e-9)


def test_12_batches_divided_by_their_own_tokens_are_no_better() -> None:
    """Steps of two rows with N and M tokens: P(end) = E[2/(N + M)] = sum_k (k - 1) 2^-k 2/k = 2 (1 - log 2) = .614."""
    trainer, rows = MLE(normalisation="batch_tokens"), geometric()
    texts = [Trajectory((2,), row.actions) for row in rows]
    step = Normalizer(texts, trainer.needs.weighting)
    divided = [
        replace(row, mass=row.mass * sum(b.mass / step.of([text, other]) for b, other in zip(rows, texts, strict=True)))
        for row, text in zip(rows, texts, strict=True)
    ]
    assert coin(trainer, divided) == pytest.approx(2 * (1 - math.log(2)), abs=1e-9)


def test_12_the_trainers_do_not_look_at_a_row_s_length() -> None:
    """Two rows of unequal length: the gradient is the sum of each row's, equally weighted."""
    trainer, world = sequence_match("js", ALPHA), PLAIN.world
    x = world.random_logits(0)
    long, short = Row((0, 1, 2), (False,) * 3, 0.5), Row((2,), (False,), 0.5)
    _, start = measure(world, [long, short], GAMMA)
    assert float(start.sum()) == 1
    parts = [loss(trainer, evaluator(world, x), batch(world, trainer, [row])).total for row in (long, short)]
    whole = loss(trainer, evaluator(world, x), batch(world, trainer, [long, short])).total
    assert float(whole) == pytest.approx(float(parts[0] + parts[1]), abs=1e-12)


# -------------------------------------------------------------------------------------------- value weighting


def counted(world: World, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Measure [P] of rows whose every own step counts 1 - gamma, their finished state gamma; and the start masses
    [S] that make it an occupancy: what leaves a state less gamma times what enters, over 1 - gamma."""
    rho = torch.zeros(len(world.pairs), dtype=FLOAT)
    for row in rows:
        steps, _, _ = chain(world, row, GAMMA, 1.0)
        for at, action in steps:
            finished = world.states[at][-1:] == (world.end,)
            rho[world.number[at, action]] += row.mass * (GAMMA if finished else 1 - GAMMA)
    at, _, to = world.columns
    flow = torch.zeros(len(world.states), dtype=FLOAT)
    return rho, (flow.index_add(0, at, rho) - GAMMA * flow.index_add(0, to, rho)) / (1 - GAMMA)


@both_worlds
@pytest.mark.parametrize("name", DIVERGENCE_NAMES)
def test_uniform_weights_are_the_objective_of_other_starts(case: Case, name: str) -> None:
    """-loss (1 - gamma) = E_data[phi(alpha r)/alpha] - (1 - gamma) E_start[V], gradient included.

    Data: weight 1 a step.  Starts: half those that the expert rows' measure has, half the rollouts'.
    """
    trainer = replace(sequence_match(name, ALPHA), value_weighting="uniform")
    data, mine = counted(case.world, case.expert)
    sampled, theirs = counted(case.world, case.buffer)
    penalised = sampled if DIVERGENCES[name].penalty is not None else None
    problem = Problem(case.world, name, data, (mine + theirs) / 2, GAMMA, ALPHA, penalised)
    logits = case.world.random_logits(5, 2.0).requires_grad_()
    rollouts = batch(case.world, trainer, case.buffer, is_expert=False)
    total = loss(trainer, evaluator(case.world, logits), batch(case.world, trainer, case.expert), rollouts).total
    (gradient,) = torch.autograd.grad(total, logits)
    assert -float(total.detach()) * (1 - GAMMA) == pytest.approx(problem.J(logits.detach()), abs=1e-12)
    assert float((gradient * (1 - GAMMA) + problem.gradient(logits.detach())).abs().max()) < 1e-12


def test_uniform_weights_by_hand() -> None:
    """5 6 end at gamma = .9: 1 a step, and .9 leaves for ever: w_abs = .9/.1 = 9; at gamma = 1 nothing is left."""
    row = Trajectory((3,), (5, 6, 10))
    packed = pack([row], SPACE, Weighting("uniform", gamma=0.9), dtype=FLOAT)
    assert [*packed.weight[0].tolist(), packed.end_weight.item()] == pytest.approx([1, 1, 1, 9])
    assert pack([row], SPACE, Weighting("uniform"), dtype=FLOAT).end_weight.item() == 0


def test_uniform_weighting_asks_for_rollouts_from_prompts() -> None:
    """For every divergence; and where an option has no effect, two runs are one."""
    uniform = SequenceMatch(divergence="js", value_weighting="uniform", buffer_every=7, kappa=3.0)
    assert uniform.needs.rollouts is not None
    assert (uniform.needs.rollouts.every, uniform.needs.rollouts.start) == (7, "prompt")
    assert uniform == SequenceMatch(divergence="js", value_weighting="uniform", buffer_every=7, rollout_start="matched")
    assert SequenceMatch(divergence="js", buffer_every=7) == SequenceMatch(divergence="js")


# --------------------------------------------------------------------------------------------- equal strength


@pytest.mark.parametrize("name", DIVERGENCE_NAMES)
def test_equal_strength(name: str) -> None:
    """alpha / (curvature/.5): near r = 0 every regulariser is alpha r^2/4 (a mixture's: /8 here, /8 on rollouts)."""
    trainer = SequenceMatch(divergence=name, alpha=0.4, equal_strength=True)
    divided = {"js": 0.1, "hellinger": 0.1, "kl_mixture": 0.1, "kl_data_model": 0.2, "kl_model_data": 0.2, "lecam": 0.2}
    expected = divided.get(name, 0.18 if name == "skew_kl" else 0.4)  # curvature of skew_kl: 1/.9
    assert trainer.strength == pytest.approx(expected, abs=1e-15)
    assert SequenceMatch(divergence=name, alpha=0.4).strength == 0.4
    r = torch.tensor([-1e-3, 1e-3], dtype=FLOAT)
    both_sides = float((trainer.g(r) + trainer.penalty(r)).sum())
    assert both_sides == pytest.approx(0.0 if name == "identity" else 2 * 0.4 * 1e-6 / 4, rel=1e-5)


# ----------------------------------------------------------------------------------------------------- td_mle


@both_worlds
def test_td_mle_is_offline_chi2_inside_its_range(case: Case) -> None:
    """lambda = alpha/4: g(r) = r - (r - alpha r^2/4) = lambda r^2 where -18 < alpha r < 2; equal loss and gradient."""
    chi2, td = sequence_match("chi2", ALPHA), TDMLE(ALPHA / 4, GAMMA, KAPPA, "logsumexp")
    expert, rollouts = batches(case, chi2)
    assert rollouts is None
    found = []
    for trainer in (chi2, td):
        logits = case.world.random_logits(0).requires_grad_()
        evaluate = evaluator(case.world, logits)
        r = evaluate(expert).reward(GAMMA)[expert.weight > 0]
        assert float(r.detach().max()) < 2 / ALPHA
        assert float(r.detach().min()) > -18 / ALPHA
        total = loss(trainer, evaluate, batch(case.world, trainer, case.expert)).total
        found.append((total.detach(), torch.autograd.grad(total, logits)[0]))
    assert float((found[0][0] - found[1][0]).abs()) < 1e-12
    assert float((found[0][1] - found[1][1]).abs().max()) < 1e-12


def test_td_mle_knows_no_bound() -> None:
    """alpha = 4, so lambda = 1: at r = 1 chi2 is past its flat point 1/2: g(1) = 1 - 1/4 = .75, td_mle's is 1."""
    world, row = PLAIN.world, Row((0, 1), (False, False), 1.0)
    chi2, td = sequence_match("chi2", 4.0), TDMLE(1.0, GAMMA, KAPPA, "logsumexp")
    assert float(chi2.g(torch.tensor(1.0))) == 0.75
    logits = torch.zeros(len(world.pairs), dtype=FLOAT)
    logits[world.number[0, 0]] += 5  # V(s_0) is above gamma V(s_1) by some 4
    above = [float(loss(t, evaluator(world, logits), batch(world, t, [row])).total) for t in (chi2, td)]
    assert above[1] > above[0] + 1


def test_td_mle_by_hand() -> None:
    """One token, one step, cut: lambda = 1/2, a state with two logits 0, next state with two logits 0, gamma = .9.

    log pi = -log 2, r = -log 2 + log 2 - .9 log 2 = -.9 log 2; loss = log 2 + (.9 log 2)^2/2.
    """
    world = World(tokens=1, length=2, backspace=False)
    trainer = TDMLE(0.5, 0.9, value="logsumexp")
    packed = batch(world, trainer, [Row((0,), (False,), 1.0)])
    total = loss(trainer, evaluator(world, torch.zeros(len(world.pairs), dtype=FLOAT)), packed).total
    assert float(total) == pytest.approx(math.log(2) + (0.9 * math.log(2)) ** 2 / 2, abs=1e-12)


def test_td_mle_is_registered() -> None:
    assert TRAINERS["td_mle"] is TDMLE
