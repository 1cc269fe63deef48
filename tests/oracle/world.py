"""A tiny language as a finite decision process: every reduced text a state, occupancies by linear systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

Text = tuple[int, ...]


@dataclass(frozen=True)
class World:
    """Texts of up to `length` tokens out of `tokens`, with or without `<backspace>`.

    Ids: the tokens from 0, then the end, `<backspace>` and the prompt's token.  A *live* state is a reduced text; a
    *finished* one is a text with its end, which is left no more: its only action stays where it is.  `<backspace>` is
    illegal before the empty text, and a text of full length takes no further token.
    """

    tokens: int
    length: int
    backspace: bool

    @property
    def end(self) -> int:
        return self.tokens

    @property
    def back(self) -> int:
        return self.tokens + 1

    @property
    def prompt(self) -> int:
        return self.tokens + 2

    @cached_property
    def states(self) -> list[Text]:
        """Live states by length, then the finished ones in the same order."""
        live = [text for n in range(self.length + 1) for text in product(range(self.tokens), repeat=n)]
        return live + [(*text, self.end) for text in live]

    @cached_property
    def index(self) -> dict[Text, int]:
        return {text: i for i, text in enumerate(self.states)}

    @cached_property
    def pairs(self) -> list[tuple[int, int, int]]:
        """Every legal (state, action, next state): the coordinates of logits, rewards and occupancies, [P]."""
        found = []
        for s, text in enumerate(self.states):
            if text[-1:] == (self.end,):
                found.append((s, self.end, s))
                continue
            if len(text) < self.length:
                found += [(s, token, self.index[(*text, token)]) for token in range(self.tokens)]
            found.append((s, self.end, self.index[(*text, self.end)]))
            if self.backspace and text:
                found.append((s, self.back, self.index[text[:-1]]))
        return found

    @cached_property
    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """`pairs` as three index tensors [P]: from, action, to."""
        at, action, to = torch.tensor(self.pairs).T
        return at, action, to

    @cached_property
    def number(self) -> dict[tuple[int, int], int]:
        """(state, action) -> its coordinate."""
        return {(at, action): i for i, (at, action, _) in enumerate(self.pairs)}

    def random_logits(self, seed: int, spread: float = 1.0) -> Tensor:
        """[P] normal logits."""
        generator = torch.Generator().manual_seed(seed)
        return spread * torch.randn(len(self.pairs), generator=generator, dtype=torch.float64)

    def value(self, logits: Tensor) -> Tensor:
        """[S] log-sum-exp of the legal logits of each state."""
        at, action, _ = self.columns
        table = torch.full((len(self.states), self.tokens + 2), -torch.inf, dtype=torch.float64)
        return table.index_put((at, action), logits).logsumexp(1)

    def log_policy(self, logits: Tensor) -> Tensor:
        """[P] log pi(a|s)."""
        return logits - self.value(logits)[self.columns[0]]

    def occupancy(self, policy: Tensor, start: Tensor, gamma: float) -> Tensor:
        """[P] rho(s, a) = (1 - gamma) sum_t gamma^t P(s_t = s) pi(a|s) from start masses [S]; differentiable."""
        at, _, to = self.columns
        size = len(self.states)
        inflow = torch.zeros(size, size, dtype=torch.float64).index_put((to, at), policy, accumulate=True)
        visits: Tensor = torch.linalg.solve(torch.eye(size, dtype=torch.float64) - gamma * inflow, start)
        return (1 - gamma) * visits[at] * policy

    @cached_property
    def at_prompt(self) -> Tensor:
        """[S] all the start mass on the empty text."""
        start = torch.zeros(len(self.states), dtype=torch.float64)
        start[0] = 1.0
        return start


@dataclass(frozen=True)
class Row:
    """One action sequence, which of its actions the environment took, and the row's probability."""

    actions: Text
    injected: tuple[bool, ...]
    mass: float


def clean_rows(world: World, logits: Tensor) -> list[Row]:
    """Every text with its probability under the policy that these logits give when `<backspace>` is left out."""
    table = {(s, a): float(logit) for (s, a, _), logit in zip(world.pairs, logits, strict=True) if a != world.back}
    norm: dict[int, float] = {}
    for (s, _), logit in table.items():
        norm[s] = norm.get(s, 0.0) + float(torch.tensor(logit).exp())
    rows = []
    for text in world.states[: len(world.states) // 2]:
        actions, mass = (*text, world.end), 1.0
        for t, action in enumerate(actions):
            s = world.index[text[:t]]
            mass *= float(torch.tensor(table[s, action]).exp()) / norm[s]
        rows.append(Row(actions, (False,) * len(actions), mass))
    return rows


def noisy_rows(world: World, clean: Sequence[Row], rate: float) -> list[Row]:
    """Every way to put single wrong tokens (and their deletion) before actions, with its probability.

    Before each action, independently with probability `rate`, a uniform token that is not the expert's next one;
    never where the text is full already.
    """
    rows = []
    for row in clean:
        choices: list[list[tuple[int | None, float]]] = []
        for t, action in enumerate(row.actions):
            wrong = [z for z in range(world.tokens) if z != action] if t < world.length else []
            quiet = 1 - rate if wrong else 1.0
            choices.append([(None, quiet), *[(z, rate / len(wrong)) for z in wrong]])
        for combination in product(*choices):
            actions: list[int] = []
            injected: list[bool] = []
            mass = row.mass
            for action, (z, chance) in zip(row.actions, combination, strict=True):
                actions += [action] if z is None else [z, world.back, action]
                injected += [False] if z is None else [True, False, False]
                mass *= chance
            rows.append(Row(tuple(actions), tuple(injected), mass))
    return rows


def chain(world: World, row: Row, gamma: float, kappa: float | None) -> tuple[list[tuple[int, int]], Tensor, Tensor]:
    """One row's own steps as a Markov chain: their (state, action), start masses and occupancies, [K] each.

    With `kappa` the row is an expert's: each run of injected tokens opens one more start, of mass kappa gamma^k after
    k clean steps, whose steps lead back into the clean ones.  Without it (a rollout) steps follow one another.  A row
    that ends goes on for ever in its finished state, the chain's last entry.
    """
    steps: list[tuple[int, int]] = []
    links: list[tuple[int, int]] = []
    start: list[float] = []
    text: Text = ()
    clean, wrong, last_clean, last_mend = 0, 0, None, None
    for action, injected in zip(row.actions, row.injected, strict=True):
        if injected:
            wrong += kappa is not None
        else:
            this = len(steps)
            steps.append((world.index[text], action))
            start.append(0.0)
            if wrong:
                if last_mend is None:
                    assert kappa is not None
                    start[this] = kappa * gamma**clean
                else:
                    links.append((last_mend, this))
                last_mend = this
                wrong -= 1
            else:
                links += [(before, this) for before in (last_clean, last_mend) if before is not None]
                start[this] = 1.0 if last_clean is None else 0.0
                last_clean, last_mend, clean = this, None, clean + 1
        text = text[:-1] if action == world.back else (*text, action)
    if row.actions[-1] == world.end:
        stay = len(steps)
        steps.append((world.index[text], world.end))
        start.append(0.0)
        links += [(stay - 1, stay), (stay, stay)]
    inflow = torch.zeros(len(steps), len(steps), dtype=torch.float64)
    for before, after in links:
        inflow[after, before] += 1.0
    first = torch.tensor(start, dtype=torch.float64)
    visits = torch.linalg.solve(torch.eye(len(steps), dtype=torch.float64) - gamma * inflow, first)
    return steps, first, (1 - gamma) * visits


def measure(world: World, rows: Sequence[Row], gamma: float, kappa: float | None = 1.0) -> tuple[Tensor, Tensor]:
    """Occupancy [P] and start measure [S] of rows, each by its own chain, weighted with their masses."""
    rho = torch.zeros(len(world.pairs), dtype=torch.float64)
    start = torch.zeros(len(world.states), dtype=torch.float64)
    for row in rows:
        for (s, a), first, visits in zip(*chain(world, row, gamma, kappa), strict=True):
            rho[world.number[s, a]] += row.mass * visits
            start[s] += row.mass * first
    return rho, start


def finished_by_recursion(world: World, policy: Tensor) -> dict[Text, float]:
    """The law of what a policy finally writes, bottom-up on the tree of prefixes.

    R(c) is the chance that the text c, once written, is deleted again; visits(c) how often it is reached:
    R(c) = pi(back|c) / (1 - sum_c' pi(c'|c) R(c')), visits(c) = visits(parent) pi(c|parent) / (the same).
    """
    pi = {(s, a): float(p) for (s, a, _), p in zip(world.pairs, policy, strict=True)}

    def children(text: Text) -> Iterator[tuple[Text, float]]:
        s = world.index[text]
        return (((*text, z), pi[s, z]) for z in range(world.tokens) if (s, z) in pi)

    kept: dict[Text, float] = {}
    returns: dict[Text, float] = {}
    live = world.states[: len(world.states) // 2]
    for text in reversed(live):
        kept[text] = 1 - sum(p * returns[child] for child, p in children(text))
        returns[text] = pi.get((world.index[text], world.back), 0.0) / kept[text]
    visits: dict[Text, float] = {(): 1 / kept[()]}
    for text in live[1:]:
        visits[text] = visits[text[:-1]] * pi[world.index[text[:-1]], text[-1]] / kept[text]
    return {text: visits[text] * pi[world.index[text], world.end] for text in live}


def finished_by_solve(world: World, policy: Tensor) -> dict[Text, float]:
    """The same law from the undiscounted linear system over live states."""
    at, action, to = world.columns
    size = len(world.states) // 2
    moves = action != world.end
    inflow = torch.zeros(size, size, dtype=torch.float64)
    inflow.index_put_((to[moves], at[moves]), policy[moves], accumulate=True)
    visits = torch.linalg.solve(torch.eye(size, dtype=torch.float64) - inflow, world.at_prompt[:size])
    return {world.states[s]: float(visits[s] * policy[world.number[s, world.end]]) for s in range(size)}
