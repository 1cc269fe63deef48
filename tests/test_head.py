"""The blocked log-sum-exp and its own backward pass, against whole logits under autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.head import log_sum_exp

STATES, WIDTH, SIZE = 13, 5, 11
BACK = SIZE - 1


def inputs(dtype: torch.dtype, bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Random hidden states and output layer, and where `<backspace>` is legal."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    legal = torch.rand(STATES, generator=generator) < 0.5
    return random(STATES, WIDTH), random(SIZE, WIDTH), random(SIZE) if bias else None, legal


def naive(hidden: Tensor, weight: Tensor, bias: Tensor | None, legal: Tensor, backspace: int | None) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if backspace is not None:
        logits = logits.masked_fill((torch.arange(SIZE) == backspace) & ~legal[:, None], -torch.inf)
    return logits.logsumexp(-1)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backspace", [BACK, None])
@pytest.mark.parametrize("kept", [True, False])
def test_equal_to_whole_logits_in_value_and_gradient(
    dtype: torch.dtype, bound: float, bias: bool, backspace: int | None, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of four states, so that the last one is short; probabilities kept, or computed again."""
    monkeypatch.setattr("harness.head.LEAST", 4)
    monkeypatch.setattr("harness.head.BLOCK", 1)
    if not kept:
        monkeypatch.setattr("harness.head.KEPT", 0)
    given = inputs(dtype, bias)
    results = []
    for way in (naive, log_sum_exp):
        total = way(*given, backspace)
        loss = total.sin().sum() + (total**2).sum()
        wanted = [tensor for tensor in given[:3] if tensor is not None]
        results.append((total.detach(), *torch.autograd.grad(loss, wanted)))
    for expected, found in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert float((found - expected).abs().max()) <= bound * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("kept", [True, False])
def test_gradients_by_finite_differences(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.head.LEAST", 4)
    monkeypatch.setattr("harness.head.BLOCK", 1)
    if not kept:
        monkeypatch.setattr("harness.head.KEPT", 0)
    hidden, weight, bias, legal = inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda *moved: log_sum_exp(*moved, legal, BACK), (hidden, weight, bias))


def test_what_is_frozen_gets_no_gradient() -> None:
    """As with a head trained alone, or a head that is not trained."""
    hidden, weight, _, legal = inputs(torch.float64, bias=False)
    for moved, still in ((hidden, weight), (weight, hidden)):
        frozen = [tensor if tensor is moved else tensor.detach() for tensor in (hidden, weight)]
        total = log_sum_exp(*frozen, None, legal, BACK)
        (found,) = torch.autograd.grad(total.sum(), moved)
        (expected,) = torch.autograd.grad(naive(hidden, weight, None, legal, BACK).sum(), moved)
        assert torch.allclose(found, expected, atol=1e-12)
        assert still.grad is None


def test_half_precision_is_as_near_as_half_precision_is() -> None:
    """bfloat16 has 8 bits: values within 1/2^7 of the logits' size, the sums in float32."""
    hidden, weight, bias, legal = inputs(torch.float32)
    total = log_sum_exp(*(x.bfloat16() for x in (hidden, weight, bias)), legal, BACK)
    assert total.dtype == torch.float32
    expected = naive(hidden, weight, bias, legal, BACK)
    assert float((total - expected).detach().abs().max()) < 0.1
    total.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


def test_memory_holds_one_block_and_not_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 states over 3,000 actions are 48 MB of logits; no tensor that lives through the forward pass has 1 MB."""
    monkeypatch.setattr("harness.head.KEPT", 0)
    hidden = torch.randn(4_000, 8, requires_grad=True)
    weight = torch.randn(3_000, 8, requires_grad=True)
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        log_sum_exp(hidden, weight, None, torch.ones(4_000).bool(), None)
    assert max(saved) < 2**20
