"""Attention in blocks of queries and the cache in place, against transformers' own."""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny_policies import tiny_policy

from harness.models import attention
from harness.models.attention import additive


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [3, 8, 9, 21])
def test_blocks_change_neither_values_nor_gradients(name: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in which every third node is deleted two nodes later; blocks of four queries, the last one short."""
    policy = tiny_policy(name)
    ids = torch.arange(2 * length).view(2, length) % 6
    index = torch.arange(length)
    deleted_at = torch.where(index % 3 == 1, index + 2, length)
    visible = (index[:, None] >= index) & (index[:, None] < deleted_at)
    mask = additive(visible, torch.float64).expand(2, 1, -1, -1)
    found = []
    for block in (1_000, 4):
        monkeypatch.setattr(attention, "BLOCK", block)
        hidden = policy.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        gradient = torch.autograd.grad((hidden**3).sum(), list(policy.model.base_model.parameters()), allow_unused=True)
        found.append([hidden, *(g for g in gradient if g is not None)])
    for whole, blocked in zip(*found, strict=True):
        assert float((whole - blocked).detach().abs().max()) < 1e-10 * max(1.0, float(whole.abs().max()))


def test_policies_attend_in_blocks() -> None:
    assert tiny_policy().model.config._attn_implementation == attention.NAME


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_cache_in_place_holds_what_transformers_own_holds(name: str) -> None:
    """Three nodes, then 70 more one by one (the room of 64 grows), then two taken back, rows dropped, one more."""
    policy = tiny_policy(name, context=80)
    ids = torch.randint(6, (4, 76), generator=torch.Generator().manual_seed(0))
    caches = attention.Nodes(policy.model.config), transformers.DynamicCache(config=policy.model.config)

    def extend(begin: int, end: int, rows: torch.Tensor) -> None:
        for cache in caches:
            mask = additive(torch.arange(end) <= torch.arange(begin, end)[:, None], torch.float64)
            position = torch.arange(begin, end).expand(len(rows), -1)
            mask = mask.expand(len(rows), -1, -1)
            if isinstance(cache, attention.Nodes):
                policy.extend(cache, ids[rows, begin:end], position, mask)
            else:
                options = {"past_key_values": cache, "position_ids": position, "attention_mask": mask[:, None]}
                policy.model.base_model(input_ids=ids[rows, begin:end], **options)

    def same() -> None:
        for own, theirs in zip(caches[0].layers, caches[1].layers, strict=True):
            assert torch.equal(own.keys, theirs.keys)
            assert torch.equal(own.values, theirs.values)

    rows = torch.arange(4)
    extend(0, 3, rows)
    for node in range(3, 73):
        extend(node, node + 1, rows)
    same()
    for cache in caches:
        cache.crop(-2)
        cache.batch_select_indices(torch.tensor([0, 2]))
    extend(71, 74, rows[[0, 2]])
    same()
    extend(74, 75, rows[[0, 2]])
    same()


def test_depths_follow_the_nodes_of_a_cache() -> None:
    """Three nodes, one that is written where the third was, two taken back, the second row alone, one more."""
    cache = attention.Nodes(tiny_policy().model.config)
    cache.join(torch.tensor([[0, 1, 2], [0, 1, 2]]))
    cache.join(torch.tensor([[2], [3]]))
    assert cache.depths().tolist() == [[0, 1, 2, 2], [0, 1, 2, 3]]
    cache.crop(-2)
    cache.batch_select_indices(torch.tensor([1]))
    cache.join(torch.tensor([[5]]))
    assert cache.depths().tolist() == [[0, 1, 5]]
