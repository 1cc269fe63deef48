"""Properties 10 and 11: where the losses lead is where min_pi D/alpha - H lies; and value functions do not move it."""

from __future__ import annotations

import pytest
import torch
from oracle.cases import ALPHA, BACKSPACE, CASES, GAMMA, PLAIN, Case
from oracle.objective import Problem, minimise
from oracle.tabular import FLOAT, batch, batches, evaluator, loss, sequence_match, train
from oracle.third_party import DIVERGENCE_NAMES
from oracle.world import Row, clean_rows, measure
from torch import Tensor

both_worlds = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_divergence = pytest.mark.parametrize("name", DIVERGENCE_NAMES)


@both_worlds
@every_divergence
def test_10_and_11_training_ends_at_the_direct_minimum(case: Case, name: str) -> None:
    """Same policy and same value as min_pi D/alpha - H, found over policies by another program.

    For chi2_mixture D is 2 sum (rho_theta - rho_data)^2/(rho_data + Z q) with q the fixed buffer's occupancy: without
    noise Z = 1; with it Z is the mass of the noise starts, and two of the buffer's rows begin there.
    """
    policy, least = case.problem(name).primal()
    logits, value = train(case, name, ALPHA)
    assert float((case.world.log_policy(logits).exp() - policy).abs().max()) < 1e-8
    assert -value == pytest.approx(least, abs=1e-8)


@pytest.mark.parametrize("name", ["kl_data_model", "js", "hellinger", "lecam", "kl_mixture", "skew_kl"])
def test_10_the_cut_is_the_bound_on_the_ratio(name: str) -> None:
    """An expert that hardly ever starts with b, alpha = 3: unbounded, the policy would write b over ten times as often.

    The loss still ends where min D/alpha - H over occupancies with rho_theta <= 10 rho_data lies.  SLSQP finds that
    minimum to 1e-10 and its policy to some 1e-8.
    """
    world = PLAIN.world
    logits = world.random_logits(1)
    logits[world.number[0, 1]] -= 6
    rows = clean_rows(world, logits)
    problem = Problem(world, name, *measure(world, rows, GAMMA), GAMMA, alpha=3.0)
    rho, least = problem.bounded()
    assert float((rho / problem.data).max()) == pytest.approx(10)
    trainer = sequence_match(name, 3.0)
    expert = batch(world, trainer, rows)
    found, value = minimise(
        lambda x: loss(trainer, evaluator(world, x), expert).total * (1 - GAMMA),
        torch.zeros(len(world.pairs), dtype=FLOAT),
    )
    assert -value == pytest.approx(least, abs=1e-10)
    reached = world.occupancy(world.log_policy(found).exp(), world.at_prompt, GAMMA)
    assert float((reached - rho).abs().max()) < 1e-7


def test_11_the_buffer_decides_which_optimum() -> None:
    """Leaving out Z, or the rollouts, is another objective: the policy moves by more than a hundred tolerances."""
    trainer, case = sequence_match("chi2_mixture", 1.0), BACKSPACE
    expert = batch(case.world, trainer, case.expert)
    start = torch.zeros(len(case.world.pairs), dtype=FLOAT)
    policies = []
    for scale in (case.Z, 1.0):
        rollouts = batch(case.world, trainer, case.buffer, is_expert=False, scale=scale)
        logits, _ = minimise(
            lambda x, q=rollouts: loss(trainer, evaluator(case.world, x), expert, q).total * (1 - GAMMA),  # type: ignore[misc]
            start,
        )
        policies.append(case.world.log_policy(logits).exp())
    assert float((policies[0] - policies[1]).abs().max()) > 1e-6


@both_worlds
def test_11_fresh_rollouts_lead_where_kl_mixture_does(case: Case) -> None:
    """At the optimum of kl_mixture at alpha/4, with the rollouts of that very policy, chi2_mixture has no gradient.

    The policy's occupancy, mass Z, enters as rows of one own action each, so that it is exact with `<backspace>` too.
    """
    world = case.world
    logits, _ = train(case, "kl_mixture", ALPHA / 4)
    rho = world.occupancy(world.log_policy(logits).exp(), case.measured[1], GAMMA)
    trainer = sequence_match("chi2_mixture", ALPHA)
    rows, masses, ends = [], [], []
    for coordinate, (state, action, to) in enumerate(world.pairs):
        if state == to:
            continue
        text = world.states[state]
        rows.append(Row((*text, action), (True,) * len(text) + (False,), 1.0))
        masses.append(float(rho[coordinate]))
        ends.append(float(rho[world.number[to, world.end]]) if action == world.end else 0.0)
    single = batch(world, trainer, rows, is_expert=False)
    own = torch.arange(single.action.shape[1]) == torch.tensor([len(row.actions) - 1 for row in rows])[:, None]
    single.weight.copy_(own * torch.tensor(masses)[:, None] * len(rows) / (1 - GAMMA))
    single.end_weight.copy_(torch.tensor(ends) * len(rows) / (1 - GAMMA))
    x = logits.clone().requires_grad_()
    total = loss(trainer, evaluator(world, x), batch(world, trainer, case.expert), single).total
    (gradient,) = torch.autograd.grad(total, x)
    assert float(gradient.abs().max()) < 1e-8


# --------------------------------------------------------------------------------------------- value functions


@both_worlds
@pytest.mark.parametrize("name", ["kl_data_model", "js", "chi2", "chi2_mixture"])
def test_value_functions_share_their_optimum(case: Case, name: str) -> None:
    """logsumexp, a free head v(s) and logsumexp less a frozen reference end at one policy and one loss."""
    world, trainer = case.world, sequence_match(name, ALPHA)
    expert, rollouts = batches(case, trainer)
    pairs, states = len(world.pairs), len(world.states)
    reference = world.value(world.random_logits(11, spread=2.0))

    def with_head(x: Tensor) -> Tensor:
        return loss(trainer, evaluator(world, x[:pairs], head=x[pairs:]), expert, rollouts).total

    def with_reference(x: Tensor) -> Tensor:
        return loss(trainer, evaluator(world, x, frozen=reference), expert, rollouts).total

    logits, least = train(case, name, ALPHA)
    by_head, least_head = minimise(lambda x: with_head(x) * (1 - GAMMA), torch.zeros(pairs + states, dtype=FLOAT))
    by_reference, least_reference = minimise(lambda x: with_reference(x) * (1 - GAMMA), torch.zeros(pairs, dtype=FLOAT))
    policy = world.log_policy(logits)
    assert float((world.log_policy(by_head[:pairs]) - policy).abs().max()) < 1e-8
    assert float((world.log_policy(by_reference) - policy).abs().max()) < 1e-8
    assert [least_head, least_reference] == pytest.approx([least, least], abs=1e-8)


@pytest.mark.parametrize("name", ["chi2", "chi2_mixture"])
def test_offsets_of_states_wreck_only_logsumexp(name: str) -> None:
    """Logits plus a number per state (sd 10), as pretrained networks have them: the same policy, another V.

    Near the expert's policy, alpha = 1.  With a zero head, or a reference that has the same offsets, the loss and its
    gradient are those without offsets.  With logsumexp the regulariser's gradient grows eightfold at least, to over
    40 times that of the likelihood.
    """
    case = BACKSPACE
    world, trainer = case.world, sequence_match(name, 1.0)
    expert, _ = batches(case, trainer)
    generator = torch.Generator().manual_seed(0)
    cloned = case.problem("identity").primal()[0].log()
    logits = (cloned + 0.05 * torch.randn(len(cloned), dtype=FLOAT, generator=generator)).requires_grad_()
    offset = 10 * torch.randn(len(world.states), dtype=FLOAT, generator=generator)
    shifted = (logits.detach() + offset[world.columns[0]]).requires_grad_()
    zero = torch.zeros(len(world.states), dtype=FLOAT)

    def gradients(x: Tensor, *, head: Tensor | None = None, frozen: Tensor | None = None) -> list[Tensor]:
        terms = loss(trainer, evaluator(world, x, head=head, frozen=frozen), expert).terms
        wanted = [torch.as_tensor(terms[term]) for term in ("bc", "regulariser")]
        return [torch.autograd.grad(term, x, retain_graph=True)[0] for term in wanted]

    for before, after in [
        (gradients(logits, head=zero), gradients(shifted, head=zero)),
        (
            gradients(logits, frozen=world.value(logits.detach())),
            gradients(shifted, frozen=world.value(shifted.detach())),
        ),
    ]:
        assert all(torch.allclose(x, y, atol=1e-12) for x, y in zip(before, after, strict=True))
    (_, calm), (cloning, wild) = gradients(logits), gradients(shifted)
    assert float(wild.norm() / calm.norm()) > 8
    assert float(wild.norm() / cloning.norm()) > 40


@pytest.mark.parametrize("name", ["chi2", "chi2_mixture"])
def test_training_under_offsets_fails_with_logsumexp_alone(name: str) -> None:
    """200 steps of Adam (rate .05, gradient norm clipped at 1) from the uniform policy, alpha = 1.

    The optimum is one and the same, but with offsets of sd 10 logsumexp is still over .4 of a probability away from
    it, where a head from 0, a reference that starts equal, and logsumexp without offsets are within .03.
    """
    case, steps = BACKSPACE, 200
    world, trainer = case.world, sequence_match(name, 1.0)
    expert, rollouts = batches(case, trainer)
    best = world.log_policy(train(case, name, 1.0)[0]).exp()
    generator = torch.Generator().manual_seed(0)
    offset = 10 * torch.randn(len(world.states), dtype=FLOAT, generator=generator)[world.columns[0]]

    def distance(start: Tensor, *, head: Tensor | None = None, frozen: Tensor | None = None) -> float:
        logits = start.clone().requires_grad_()
        parameters = [logits] if head is None else [logits, head]
        optimizer = torch.optim.Adam(parameters, lr=0.05)
        for _ in range(steps):
            evaluate = evaluator(world, logits, head=head, frozen=frozen)
            optimizer.zero_grad()
            loss(trainer, evaluate, expert, rollouts).total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return float((world.log_policy(logits.detach()).exp() - best).abs().max())

    assert distance(offset) > 0.4
    assert distance(torch.zeros_like(offset)) < 0.03
    assert distance(offset, head=torch.zeros(len(world.states), dtype=FLOAT, requires_grad=True)) < 0.03
    assert distance(offset, frozen=world.value(offset)) < 0.03
