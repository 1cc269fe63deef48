"""The contract of every trainer: registering it is enough to be tested here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from oracle.third_party import DIVERGENCE_NAMES, TRAINER_NAMES
from torch import Tensor

from harness.actions.batch import ActionValues, Batch, pack
from harness.actions.space import ActionSpace
from harness.config.run import RunConfig
from harness.config.search_space import searches
from harness.config.section import Plugin
from harness.grids.tuning import SHARED, tuned
from harness.plugins.options import build, options
from harness.plugins.trainer import Loss, Moment, Trainer
from harness.records import Trajectory
from harness.registry import TRAINERS

TOKENS, END, BACK, START = 4, 4, 5, 6
SPACE = ActionSpace(7, END, BACK, frozenset({END, BACK, START}))
LONG = Trajectory((START,), (0, 1, 2, BACK, 3, 0, BACK, BACK, 2, 1, 0, 3, END))
EXPERT = [
    Trajectory((START,), (0, 1, END)),
    Trajectory((START, 2), (3, 2, BACK, 1, END), (False, True, False, False, False)),
    Trajectory((START,), (1, 0, 2)),
    Trajectory((START,), (2, 2, 1, BACK, BACK, 3, END), (False, True, True, False, False, False, False)),
]
ROLLOUTS = [
    Trajectory((START,), (0, BACK, 1, END)),
    Trajectory((START, 2), (3, 3, 1), (True, False, False)),
    Trajectory((START,), (2, BACK, 2, BACK)),
    Trajectory((START,), (END,)),
]


@dataclass
class Tanh:
    """A small network: tanh of the summed embeddings (by token and depth) of the nodes that a state sees."""

    table: Tensor
    output: Tensor

    @classmethod
    def make(cls) -> Tanh:
        generator = torch.Generator().manual_seed(0)
        shapes = (16, SPACE.size, 5), (5, SPACE.size)
        return cls(*(torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes))

    @property
    def parameters(self) -> list[Tensor]:
        return [self.table, self.output]

    def evaluate(self, batch: Batch, reference: bool = False) -> ActionValues:
        """log pi and V = log-sum-exp over legal actions; the reference is the same network, detached."""
        table, output = (p.detach() if reference else p for p in self.parameters)
        embedded = table[batch.position_ids, batch.input_ids]
        hidden = torch.tanh(batch.visible()[:, 0].to(table.dtype) @ embedded)
        at_states = hidden.gather(1, batch.states[..., None].expand(-1, -1, hidden.shape[-1]))
        back = torch.arange(SPACE.size) == BACK
        logits = (at_states @ output).masked_fill(back & ~batch.legal[..., None], -torch.inf)
        value = logits.logsumexp(-1)
        chosen = logits[:, :-1].gather(-1, batch.action[..., None])[..., 0]
        return ActionValues(chosen - value[:, :-1], value[:, :-1], value[:, 1:], value[:, -1])


def trainers() -> list[Trainer]:
    """Every registered trainer at its defaults, with each divergence, and with every other choice of an option."""
    found: list[Trainer] = []
    for name in TRAINER_NAMES:
        has_divergence = any(field.name == "divergence" for field in dataclasses.fields(TRAINERS[name]))
        choices = [{"divergence": divergence} for divergence in DIVERGENCE_NAMES] if has_divergence else [{}]
        for option in options(TRAINERS[name]):
            if " | " in option.type:
                choices += [{option.name: choice} for choice in option.type.split(" | ") if choice != option.default]
        found += [build(TRAINERS, Plugin(name=name, options=chosen), "trainer") for chosen in choices]
    return found


def spelled(trainer: Trainer) -> str:
    """The trainer's name and the options that are not at their defaults."""
    changed = [
        f"{f.name}={getattr(trainer, f.name)}"
        for f in dataclasses.fields(trainer)
        if f.default != getattr(trainer, f.name)
    ]  # type: ignore[arg-type]
    return "-".join([type(trainer).__name__, *changed])


@pytest.fixture(params=trainers(), ids=spelled)
def trainer(request: pytest.FixtureRequest) -> Trainer:
    found: Trainer = request.param
    return found


def packed(trainer: Trainer, rows: Sequence[Trajectory], *, is_expert: bool = True) -> Batch:
    return pack(rows, SPACE, trainer.needs.weighting, is_expert=is_expert, normalizer=3.7, dtype=torch.float64)


def loss(trainer: Trainer, network: Tanh, rows: Sequence[int], *, companion: bool = False) -> Loss:
    """The trainer's loss of some of the rows, halfway; a longer companion row stretches the padding."""
    extra = [LONG] if companion else []
    expert = packed(trainer, [EXPERT[i] for i in rows] + extra)
    rollouts = None
    if trainer.needs.rollouts is not None:
        rollouts = packed(trainer, [ROLLOUTS[i] for i in rows] + extra, is_expert=False)
    return trainer.loss(network.evaluate, expert, rollouts, Moment(0.5, torch.Generator().manual_seed(0)))


def gradient(total: Tensor, network: Tanh) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, network.parameters)])


def test_a_finite_scalar_whose_gradient_reaches_the_logits(trainer: Trainer) -> None:
    """At every stage of training; every term can be written down as a number."""
    network = Tanh.make()
    for progress in (0.0, 0.1, 1.0):
        rollouts = packed(trainer, ROLLOUTS, is_expert=False) if trainer.needs.rollouts is not None else None
        moment = Moment(progress, torch.Generator().manual_seed(0))
        found = trainer.loss(network.evaluate, packed(trainer, EXPERT), rollouts, moment)
        assert found.total.shape == ()
        assert torch.isfinite(found.total)
        slopes = gradient(found.total, network)
        assert torch.isfinite(slopes).all()
        assert float(slopes.abs().max()) > 1e-3
        assert all(torch.isfinite(torch.as_tensor(term)) for term in found.terms.values())


def test_padding_does_not_matter(trainer: Trainer) -> None:
    """Three times the mean over the two rows and a longer one, less the longer one's own, is twice their mean."""
    network = Tanh.make()
    short, both = loss(trainer, network, [0, 2]), loss(trainer, network, [0, 2], companion=True)
    alone = loss(trainer, network, [], companion=True)
    assert (3 * both.total - alone.total).item() == pytest.approx(2 * short.total.item(), abs=1e-12)
    slopes = gradient(3 * both.total - alone.total, network)
    assert torch.allclose(slopes, gradient(2 * short.total, network), atol=1e-12, rtol=0)


def test_row_order_does_not_matter(trainer: Trainer) -> None:
    network = Tanh.make()
    one, other = loss(trainer, network, [0, 1, 2, 3]).total, loss(trainer, network, [2, 0, 3, 1]).total
    assert one.item() == pytest.approx(other.item(), abs=1e-12)
    assert torch.allclose(gradient(one, network), gradient(other, network), atol=1e-12, rtol=0)


def test_7_micro_batches_add_up(trainer: Trainer) -> None:
    """Losses of 1 + 3 rows, weighted by their shares of the rows, have the sum and gradient of 4 rows at once."""
    network = Tanh.make()
    whole = loss(trainer, network, [0, 1, 2, 3]).total
    parts = loss(trainer, network, [0]).total / 4 + 3 * loss(trainer, network, [1, 2, 3]).total / 4
    assert parts.item() == pytest.approx(whole.item(), abs=1e-12)
    assert torch.allclose(gradient(parts, network), gradient(whole, network), atol=1e-12, rtol=0)


def test_asking_again_gives_the_same(trainer: Trainer) -> None:
    """All randomness comes through the moment's generator."""
    network = Tanh.make()
    assert torch.equal(loss(trainer, network, [0, 1, 2, 3]).total, loss(trainer, network, [0, 1, 2, 3]).total)


@pytest.mark.parametrize("name", TRAINER_NAMES)
def test_what_may_be_tuned_is_what_may_be_written(name: str) -> None:
    """Both ends of each space, and every choice, make a configuration that differs from the one at the other end."""
    spaces = SHARED | {f"trainer.{option}": search for option, search in searches(TRAINERS[name]).items()}
    for key, search in spaces.items():
        actions = {"context_noise": 0.1} if key == "actions.context_noise" else {"backspace": True}
        written = RunConfig(benchmark="language", trainer=name, actions=actions)
        scale = written.flat().get(key) if search.relative else 1.0
        ends = search.choices or (search.low * scale, search.high * scale)
        assert len({tuned(written, {key: value}).run_id for value in ends}) == len(ends) > 1
