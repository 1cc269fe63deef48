"""The output layer in blocks and its own backward pass, against whole logits under autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.models.output_layer import sums_and_chosen

STATES, WIDTH, SIZE = 13, 5, 11
BACK = SIZE - 1


def inputs(dtype: torch.dtype, bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Random hidden states and output layer, and where `<backspace>` is legal."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    legal = torch.rand(STATES, generator=generator) < 0.5
    return random(STATES, WIDTH), random(SIZE, WIDTH), random(SIZE) if bias else None, legal


def naive(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    legal: Tensor,
    backspace: int | None,
    cap: float | None = None,
) -> Tensor:
    """[STATES, SIZE] legal logits."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    if backspace is not None:
        logits = logits.masked_fill((torch.arange(SIZE) == backspace) & ~legal[:, None], -torch.inf)
    return logits


# Out of order, state 3 twice with the same action and once with another, the last state at the end of a short block.
STATE = torch.tensor([12, 3, 0, 3, 7, 3, 5])
ACTION = torch.tensor([4, 2, 0, 2, 9, 1, 6])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backspace", [BACK, None])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_equal_to_whole_logits_in_value_and_gradient(
    dtype: torch.dtype,
    bound: float,
    bias: bool,
    backspace: int | None,
    kept: bool,
    cap: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of four states, so that the last one is short; probabilities kept, or computed again.

    Logits are up to 5, so that a cap of 1.5 leaves slopes from 1 to .01.
    """
    monkeypatch.setattr("harness.models.output_layer.LEAST", 4)
    monkeypatch.setattr("harness.models.output_layer.BLOCK", 1)
    if not kept:
        monkeypatch.setattr("harness.models.output_layer.KEPT", 0)
    given = inputs(dtype, bias)
    results = []
    logits = naive(*given, backspace, cap)
    for total, chosen in (
        (logits.logsumexp(-1), logits[STATE, ACTION]),
        sums_and_chosen(*given, backspace, STATE, ACTION, cap=cap),
    ):
        loss = total.sin().sum() + (total**2).sum() + (chosen * torch.arange(1, 8)).sum() - (chosen**2).sum()
        wanted = [tensor for tensor in given[:3] if tensor is not None]
        results.append((total.detach(), chosen.detach(), *torch.autograd.grad(loss, wanted)))
    for expected, found in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert float((found - expected).abs().max()) <= bound * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_gradients_by_finite_differences(kept: bool, cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.output_layer.LEAST", 4)
    monkeypatch.setattr("harness.models.output_layer.BLOCK", 1)
    if not kept:
        monkeypatch.setattr("harness.models.output_layer.KEPT", 0)
    hidden, weight, bias, legal = inputs(torch.float64)
    assert torch.autograd.gradcheck(
        lambda *moved: sums_and_chosen(*moved, legal, BACK, STATE, ACTION, cap=cap), (hidden, weight, bias)
    )


def test_what_is_frozen_gets_no_gradient() -> None:
    """As with a head trained alone, or a head that is not trained."""
    hidden, weight, _, legal = inputs(torch.float64, bias=False)
    for moved, still in ((hidden, weight), (weight, hidden)):
        frozen = [tensor if tensor is moved else tensor.detach() for tensor in (hidden, weight)]
        total, chosen = sums_and_chosen(*frozen, None, legal, BACK, STATE, ACTION)
        (found,) = torch.autograd.grad(total.sum() + chosen.sum(), moved)
        logits = naive(hidden, weight, None, legal, BACK)
        (expected,) = torch.autograd.grad(logits.logsumexp(-1).sum() + logits[STATE, ACTION].sum(), moved)
        assert torch.allclose(found, expected, atol=1e-12)
        assert still.grad is None


def test_half_precision_is_as_near_as_half_precision_is() -> None:
    """bfloat16 has 8 bits: values within 1/2^7 of the logits' size, the sums in float32."""
    hidden, weight, bias, legal = inputs(torch.float32)
    assert bias is not None
    total, chosen = sums_and_chosen(*(x.bfloat16() for x in (hidden, weight, bias)), legal, BACK, STATE, ACTION)
    assert total.dtype == chosen.dtype == torch.float32
    expected = naive(hidden, weight, bias, legal, BACK).logsumexp(-1)
    assert float((total - expected).detach().abs().max()) < 0.1
    total.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("cap", [None, 30.0])
def test_memory_holds_one_block_and_not_all_logits(cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 states over 3,000 actions are 48 MB of logits; no tensor that lives through the forward pass has 1 MB."""
    monkeypatch.setattr("harness.models.output_layer.KEPT", 0)
    hidden = torch.randn(4_000, 8, requires_grad=True)
    weight = torch.randn(3_000, 8, requires_grad=True)
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        nothing = torch.empty(0, dtype=torch.long)
        sums_and_chosen(hidden, weight, None, torch.ones(4_000).bool(), None, nothing, nothing, cap=cap)
    assert max(saved) < 2**20


def test_without_gradient_nothing_is_kept() -> None:
    """No probabilities of 13 x 11 are written for a backward pass that cannot come."""
    kept: list[tuple[int, ...]] = []
    hidden, weight, bias, legal = inputs(torch.float64)
    original = torch.Tensor.new_empty

    def noted(self: Tensor, *shape: int, **options: object) -> Tensor:
        kept.append(tuple(shape))
        return original(self, *shape, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.Tensor, "new_empty", noted)
        sums_and_chosen(hidden, weight, bias, legal, BACK, STATE, ACTION)
    assert (0, SIZE) in kept
    assert (STATES, SIZE) not in kept
