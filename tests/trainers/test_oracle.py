"""The oracle against itself: it agrees with sums, products and a second method."""

from __future__ import annotations

import ast
from pathlib import Path

import oracle
import pytest
import torch
from oracle.cases import BACKSPACE, CASES, GAMMA, KAPPA, Case
from oracle.generators import GENERATORS, RATIO, divergence, phi, slope
from oracle.world import Row, World, chain, finished_by_recursion, finished_by_solve, measure


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    """The files that enumerate and solve import nothing of harness or trainers."""
    for name in ("world", "generators", "objective", "cases"):
        tree = ast.parse((Path(oracle.__path__[0]) / f"{name}.py").read_text())
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not {module.split(".")[0] for module in modules} & {"harness", "trainers", "benchmarks"}


def test_states_and_pairs_of_the_smallest_world() -> None:
    """One token, length 1: the texts "" and "a", each live and finished.

    "" may take a or end, "a" end or back, each finished one stays: six pairs.
    """
    world = World(tokens=1, length=1, backspace=True)
    assert world.states == [(), (0,), (1,), (0, 1)]
    assert world.pairs == [(0, 0, 1), (0, 1, 2), (1, 1, 3), (1, 2, 0), (2, 1, 2), (3, 1, 3)]


@pytest.mark.parametrize("backspace", [False, True])
@pytest.mark.parametrize("tokens", [2, 3])
def test_occupancy_is_the_sum_over_time(tokens: int, backspace: bool) -> None:
    """(1 - gamma) sum_t gamma^t P(s_t, a_t), 400 terms of it at gamma = .9 (the rest is below 1e-18)."""
    world = World(tokens, 3, backspace)
    policy = world.log_policy(world.random_logits(0)).exp()
    at, _, to = world.columns
    now, total = world.at_prompt, torch.zeros_like(policy)
    for t in range(400):
        taken = now[at] * policy
        total += (1 - GAMMA) * GAMMA**t * taken
        now = torch.zeros_like(now).index_add(0, to, taken)
    assert torch.allclose(world.occupancy(policy, world.at_prompt, GAMMA), total, atol=1e-14, rtol=0)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_rows_measure_obeys_the_flow_equations(case: Case) -> None:
    """Mass out of a state = (1 - gamma) start + gamma mass in, and the whole is the start mass Z."""
    (rho, start), (at, _, to) = case.measured, case.world.columns
    out = torch.zeros_like(start).index_add(0, at, rho)
    into = torch.zeros_like(start).index_add(0, to, rho)
    assert torch.allclose(out, (1 - GAMMA) * start + GAMMA * into, atol=1e-15, rtol=0)
    assert float(rho.sum()) == pytest.approx(case.Z, abs=1e-14)
    assert (rho > 0).all(), "the optimum is compared with an interior one"


def test_rows_of_a_policy_measure_its_occupancy() -> None:
    """Two roads to rho: all texts with their chances, and the linear system over states."""
    case = CASES["plain"]
    policy = case.world.log_policy(case.world.random_logits(1)).exp()
    assert torch.allclose(case.measured[0], case.world.occupancy(policy, case.world.at_prompt, GAMMA), atol=1e-15)


def test_noise_starts_have_the_mass_of_their_positions() -> None:
    """Z = 1 + kappa rate E[sum of gamma^k over the positions that may hold an event]; rate .4, none at full length."""
    expected = sum(
        row.mass * GAMMA**k for row in BACKSPACE.clean for k in range(len(row.actions)) if k < BACKSPACE.world.length
    )
    assert pytest.approx(1 + KAPPA * 0.4 * expected, abs=1e-14) == BACKSPACE.Z


def test_a_chain_by_hand() -> None:
    """a (z) back b end at gamma = 1/2, kappa = 1: start masses 1 and 1/2.

    Visits: a 1; back 1/2 (its own start); b 1/2 from a + 1/4 from back = 3/4; end 3/8; for ever after 3/8.
    """
    world = World(tokens=2, length=2, backspace=True)
    row = Row((0, 0, world.back, 1, world.end), (False, True, False, False, False), 1.0)
    steps, start, visits = chain(world, row, 0.5, 1.0)
    assert [world.states[s] for s, _ in steps] == [(), (0, 0), (0,), (0, 1), (0, 1, world.end)]
    assert start.tolist() == [1, 0.5, 0, 0, 0]
    assert visits.tolist() == pytest.approx([0.5, 0.25, 0.375, 0.1875, 0.1875])


@pytest.mark.parametrize("seed", range(4))
def test_law_of_finished_texts(seed: int) -> None:
    """Recursion over prefixes = linear system; it sums to 1 and is not the policy renormalised without backspace."""
    world = World(tokens=3, length=3, backspace=True)
    logits = world.random_logits(seed, spread=2.0)
    policy = world.log_policy(logits).exp()
    law, solved = finished_by_recursion(world, policy), finished_by_solve(world, policy)
    assert max(abs(law[text] - solved[text]) for text in law) < 1e-15
    assert sum(law.values()) == pytest.approx(1, abs=1e-13)
    kept = policy * (world.columns[1] != world.back)
    renormalised = (
        kept / torch.zeros(len(world.states), dtype=kept.dtype).index_add(0, world.columns[0], kept)[world.columns[0]]
    )
    naive = finished_by_solve(world, renormalised)
    assert sum(abs(law[text] - naive[text]) for text in law) / 2 > 0.02


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_are_standardised(name: str) -> None:
    """f(1) = f'(1) = 0, hence phi(0) = 0 and phi'(0) = 1; D(d, d) = 0; the ratio is capped at 10."""
    f, zero = GENERATORS[name], torch.zeros(1, dtype=torch.float64)
    assert float(f(zero + 1)) == pytest.approx(0, abs=1e-15)
    assert float(slope(f, zero)) == pytest.approx(1, abs=1e-7)
    assert float(phi(f, zero)) == pytest.approx(0, abs=1e-15)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    assert float(divergence(f, half, half)) == pytest.approx(0, abs=1e-15)
    assert float(slope(f, zero - 300)) == pytest.approx(RATIO, abs=1e-12)


def test_measures_add_up_over_rows() -> None:
    """Splitting the rows in two splits the measure."""
    rho, start = measure(BACKSPACE.world, BACKSPACE.expert[:7], GAMMA, KAPPA)
    rest, other = measure(BACKSPACE.world, BACKSPACE.expert[7:], GAMMA, KAPPA)
    assert torch.allclose(rho + rest, BACKSPACE.measured[0], atol=1e-15)
    assert torch.allclose(start + other, BACKSPACE.measured[1], atol=1e-15)
