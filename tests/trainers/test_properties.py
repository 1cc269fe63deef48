"""The loss against exact enumeration, one test a property: likelihood, gradient, J, offsets, rollouts.

Each runs on the trainers' own `loss`; the oracle gives what it must be.  Numbers as in the list of properties that
the objective is derived with: 1 likelihood, 2 gradient, 3 J, 5 offsets, 6 rollouts; the others have files of their own.
"""

from __future__ import annotations

import pytest
import torch
from oracle.cases import ALPHA, BACKSPACE, CASES, GAMMA, PLAIN, WIDE_CASES, Case
from oracle.tabular import batch, batches, evaluator, loss, sequence_match
from oracle.third_party import DIVERGENCE_NAMES
from oracle.world import Row

from trainers.bc import BC
from trainers.divergences import DIVERGENCES
from trainers.mle import MLE
from trainers.sequence_match import SequenceMatch

both_worlds = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_world = pytest.mark.parametrize("case", WIDE_CASES.values(), ids=WIDE_CASES.keys())
every_divergence = pytest.mark.parametrize("name", DIVERGENCE_NAMES)


# ------------------------------------------------------------------------------------- 1: maximum likelihood


@every_world
@pytest.mark.parametrize(
    "trainer",
    [MLE(), BC(gamma=1 - 1e-12), sequence_match("identity", ALPHA, gamma=1 - 1e-12)],
    ids=["mle", "bc", "identity"],
)
def test_1_identity_is_maximum_likelihood(case: Case, trainer: MLE | BC | SequenceMatch) -> None:
    """As gamma -> 1 the loss is the mean of -log p(text) over texts, the end included."""
    logits = case.world.random_logits(3)
    log_pi = case.world.log_policy(logits)
    expected = 0.0
    for row in case.clean:
        for t, action in enumerate(row.actions):
            state = case.world.index[row.actions[:t]]
            expected -= row.mass * float(log_pi[case.world.number[state, action]])
    total = loss(trainer, evaluator(case.world, logits), batch(case.world, trainer, case.clean)).total
    assert float(total) == pytest.approx(expected, abs=1e-9)


# -------------------------------------------------------------------------------- 2 and 3: the gradient and J


@every_world
@every_divergence
def test_2_gradient(case: Case, name: str) -> None:
    """dJ/dl = mu - pi [(1 - gamma) start + gamma inflow(mu)], mu = rho_data phi'(r); loss = -J/(1 - gamma)."""
    trainer, problem = sequence_match(name, ALPHA), case.problem(name)
    for seed, spread in [(0, 1.0), (1, 3.0), (2, 12.0)]:  # the last goes far below the cut and above the flat point
        logits = case.world.random_logits(seed, spread).requires_grad_()
        total = loss(trainer, evaluator(case.world, logits), *batches(case, trainer)).total
        (gradient,) = torch.autograd.grad(total, logits)
        expected = -problem.gradient(logits.detach())
        assert float((gradient * (1 - GAMMA) - expected).abs().max()) < 1e-12


@every_world
@every_divergence
def test_3_loss_is_minus_J(case: Case, name: str) -> None:
    """-loss (1 - gamma) = J of the rows' occupancy, absorbing steps with the network's own V included."""
    trainer, problem = sequence_match(name, ALPHA), case.problem(name)
    for seed, spread in [(0, 1.0), (1, 3.0)]:
        logits = case.world.random_logits(seed, spread)
        total = loss(trainer, evaluator(case.world, logits), *batches(case, trainer)).total
        assert -float(total) * (1 - GAMMA) == pytest.approx(problem.J(logits), abs=1e-12)


@pytest.mark.parametrize("name", ["kl_model_data", "chi2_mixture"])
def test_3_every_single_row_counts_by_its_own_occupancy(name: str) -> None:
    """Rows of different lengths alone: dividing by each row's own length would scale each one differently."""
    trainer, world = sequence_match(name, ALPHA), BACKSPACE.world
    logits = world.random_logits(4)
    single = [loss(trainer, evaluator(world, logits), batch(world, trainer, [row])).total for row in BACKSPACE.expert]
    together = loss(trainer, evaluator(world, logits), batch(world, trainer, BACKSPACE.expert)).total
    assert float(sum(single)) == pytest.approx(float(together), abs=1e-12)


def test_3_a_row_that_is_cut_has_no_last_term() -> None:
    """a, b and no end: two steps r_1, r_2 and nothing for the state after them.

    chi2_mixture, alpha = 1: expert -log pi + r^2/8 a step, rollouts r^2/8 a step.
    """
    trainer, world = sequence_match("chi2_mixture", 1.0), PLAIN.world
    row = Row((0, 1), (False, False), 1.0)
    logits = world.random_logits(0)
    value, log_pi, number = world.value(logits), world.log_policy(logits), world.number
    states = [world.index[text] for text in [(), (0,), (0, 1)]]
    expected_expert = expected_rollout = 0.0
    for t, action in enumerate(row.actions):
        step = float(log_pi[number[states[t], action]])
        r = step + float(value[states[t]]) - GAMMA * float(value[states[t + 1]])
        expected_expert += GAMMA**t * (-step + r**2 / 8)
        expected_rollout += GAMMA**t * r**2 / 8
    expert = batch(world, trainer, [row])
    alone = loss(trainer, evaluator(world, logits), expert).total
    both = loss(trainer, evaluator(world, logits), expert, batch(world, trainer, [row], is_expert=False)).total
    assert float(alone) == pytest.approx(expected_expert, abs=1e-12)
    assert float(both - alone) == pytest.approx(expected_rollout, abs=1e-12)


# ------------------------------------------------------------------------------------------------ 5: offsets


@both_worlds
@every_divergence
def test_5_a_constant_added_to_every_logit(case: Case, name: str) -> None:
    """log pi stays, V(s) and V(s') rise by c: every r rises by (1 - gamma) c and cloning is unchanged.  c = 7."""
    trainer, logits = sequence_match(name, ALPHA), case.world.random_logits(2)
    expert = batch(case.world, trainer, case.expert)
    before, after = evaluator(case.world, logits)(expert), evaluator(case.world, logits + 7)(expert)
    shift = (after.reward(GAMMA) - before.reward(GAMMA))[expert.weight > 0]
    assert torch.allclose(shift, torch.full_like(shift, 7 * (1 - GAMMA)), atol=1e-12, rtol=0)
    cloning = [loss(trainer, evaluator(case.world, x), expert).terms["bc"] for x in (logits, logits + 7)]
    assert float(cloning[1]) == pytest.approx(float(cloning[0]), abs=1e-12)


# ----------------------------------------------------------------------------------------------- 6: rollouts


@both_worlds
@pytest.mark.parametrize("name", [n for n in DIVERGENCE_NAMES if DIVERGENCES[n].penalty is None])
def test_6_rollouts_change_nothing_but_the_mixture(case: Case, name: str) -> None:
    """The gradient with rollouts is the gradient without, bit by bit, and no such trainer asks for them."""
    trainer = sequence_match(name, ALPHA)
    assert trainer.needs.rollouts is None
    logits = case.world.random_logits(6).requires_grad_()
    expert = batch(case.world, trainer, case.expert)
    rollouts = batch(case.world, trainer, case.buffer, is_expert=False)
    gradients = [
        torch.autograd.grad(loss(trainer, evaluator(case.world, logits), expert, given).total, logits)[0]
        for given in (None, rollouts)
    ]
    assert torch.equal(*gradients)


@both_worlds
def test_6_value_terms_telescope_whoever_wrote_the_text(case: Case) -> None:
    """sum_t gamma^t (V_t - gamma V_{t+1}) + gamma^N V_N = V(s_0) on every finished row without noise starts.

    So the half of the value term that the paper takes from the model has no effect.
    """
    trainer, logits = sequence_match("identity", ALPHA), case.world.random_logits(8)
    finished = [row for row in case.buffer if row.actions[-1] == case.world.end and not any(row.injected)]
    rows = [Row(row.actions, row.injected, 1.0 / len(finished)) for row in finished]
    rollouts = batch(case.world, trainer, rows, is_expert=False)
    values = evaluator(case.world, logits)(rollouts)
    drops = (rollouts.weight * (values.value - GAMMA * values.next_value)).sum(1)
    total = drops + (1 - GAMMA) * rollouts.end_weight * values.end_value
    assert torch.allclose(total, case.world.value(logits)[0].expand_as(total), atol=1e-12, rtol=0)


def test_6_the_mixture_does_look_at_rollouts() -> None:
    """Its loss rises by E_q[alpha r^2/8], so its gradient moves."""
    trainer, case = sequence_match("chi2_mixture", ALPHA), BACKSPACE
    logits = case.world.random_logits(6)
    expert, rollouts = batches(case, trainer)
    with_, without = (loss(trainer, evaluator(case.world, logits), expert, given).total for given in (rollouts, None))
    assert float(with_) > float(without) + 1e-3
