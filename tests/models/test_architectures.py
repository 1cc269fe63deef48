"""Every architecture of `architectures.json`: right against plain forward passes of transformers, or refused in words.

Each is built in memory from its configuration, float32, with noise on every matrix.  The oracle is an untouched copy of
it: `model(input_ids=reduced_text).logits`, one text at a time.  `result` says what must come out: "right", "without"
(right without `<backspace>`, and refused with it) or "refused".  `variants` are models that people fine-tune,
`neighbours` the same kinds of layers with other numbers, and other families of the same kinds.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
import transformers
from architectures import FILE, KNOWN, config_of, tokenizer, verdict
from torch import Tensor

from harness.actions.batch import Batch, pack
from harness.actions.weights import Weighting
from harness.errors import ConfigError
from harness.generation.probe import Architecture, probe
from harness.generation.rollouts import Start, sample
from harness.models import pretrained
from harness.models.architectures import kinds
from harness.models.architectures.known import known
from harness.models.policy import Policy
from harness.records import Trajectory

README = FILE.parents[2] / "harness" / "models" / "README.md"
CONTEXT = 48
BOUND = 1e-4  # nats or logits; float32 leaves 1e-5
RUNS = [name for name, entry in KNOWN.items() if entry["result"] != "refused"]
DELETES = [name for name in RUNS if KNOWN[name]["result"] == "right"]


def built(name: str, *, noise: float = 0.15) -> Any:
    """The model of an entry, equal each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config_of(name)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * noise)
    return model


def policy_and_plain(name: str, *, backspace: bool, dtype: str = "float32") -> tuple[Policy, Any]:
    """A policy, and a model of the same weights and rows that nothing of the harness has touched."""
    model = built(name)
    if dtype == "float64":
        model = model.double()
    plain = copy.deepcopy(model)
    policy = Policy(model, tokenizer(), CONTEXT, dtype)
    if backspace:
        policy.add_backspace()
        pretrained.append_row(plain)
    return policy, plain


@torch.no_grad()
def fresh(plain: Any, text: tuple[int, ...]) -> Tensor:
    """Logits [V] after a text."""
    found: Tensor = plain(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].float()
    return found


def random_rows(policy: Policy, *, deletes: bool) -> list[Trajectory]:
    """Three rows of unequal length; with deletions the last one has more nodes than the model has positions."""
    back, rows = policy.space.backspace_id, []
    for prompt, count in (((0,), 40), ((0, *range(10, 16)), 25), ((0, 3, 4), 110 if deletes else 40)):
        generator, actions, depth = torch.Generator().manual_seed(count), [], 0
        while len(actions) < count:
            if deletes and depth > 0 and float(torch.rand((), generator=generator)) < 0.35:
                assert back is not None
                actions.append(back)
                depth -= 1
            else:
                actions.append(int(torch.randint(2, 28, (), generator=generator)))
                depth += 1
        rows.append(Trajectory(prompt, tuple(actions), (False,) * count))
    return rows


def packed_error(policy: Policy, plain: Any, *, deletes: bool, every: int = 7) -> float:
    """Largest difference of a logit in every seventh state."""
    rows = random_rows(policy, deletes=deletes)
    batch = pack(rows, policy.space, Weighting(gamma=0.9))
    assert batch.plain is not deletes
    with torch.no_grad():
        ours = policy.logits(policy.state_hidden(batch), batch.legal)
    gaps = []
    for n, row in enumerate(rows):
        for t in range(0, len(row.actions) + 1, every):
            whole = fresh(plain, (*row.prompt, *policy.space.reduce(row.actions[:t])))
            gap = (ours[n, t] - whole)[ours[n, t] > -torch.inf]
            gaps.append(float(gap.abs().max()))
    return worst(gaps)


def sampled_error(policy: Policy, plain: Any, *, deletes: bool, every: int = 7) -> float:
    """Largest difference of a log-probability of every seventh action of rows that end at different times."""
    back = policy.space.backspace_id
    starts = [Start((0,)), Start((0, *range(10, 14))), Start((0, *range(6, 16))), Start((0, 7), given=(8, 9))]

    def force(row: int, text: tuple[int, ...]) -> int:
        return back if back is not None and len(text) > len(starts[row].prompt) else 9

    options: dict[str, Any] = {"epsilon": 0.35, "force": force} if deletes else {}
    gaps, lengths, deleted = [], set(), 0
    for rollout in sample(policy, starts, seed=5, max_actions=60, **options):
        row = rollout.trajectory
        lengths.add(len(row.actions))
        deleted += row.actions.count(back)
        for t in range(0, len(row.actions), every):
            if row.injected[t]:
                continue
            text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
            whole = fresh(plain, text)
            if back is not None and len(text) == len(row.prompt):
                whole[back] = -torch.inf
            gaps.append(abs(float(whole.log_softmax(-1)[row.actions[t]]) - rollout.log_probs[t]))
    assert len(lengths) > 1  # rows were dropped while others went on
    assert (deleted > 10) is deletes
    return worst(gaps)


def worst(gaps: list[float]) -> float:
    """The largest; infinite if one is no number."""
    return max(gap if gap == gap else float("inf") for gap in gaps)


@pytest.mark.parametrize("name", DELETES)
def test_deletions_are_exact(name: str) -> None:
    policy, plain = policy_and_plain(name, backspace=True)
    assert packed_error(policy, plain, deletes=True) <= BOUND
    assert sampled_error(policy, plain, deletes=True) <= BOUND


@pytest.mark.parametrize("name", RUNS)
def test_texts_without_deletions_are_exact(name: str) -> None:
    policy, plain = policy_and_plain(name, backspace=False)
    assert packed_error(policy, plain, deletes=False) <= BOUND
    assert sampled_error(policy, plain, deletes=False) <= BOUND


@pytest.mark.parametrize("name", KNOWN)
def test_the_probe_says_in_two_seconds_what_is_so(name: str) -> None:
    found, seconds = verdict(name)
    assert seconds < 2
    if KNOWN[name]["result"] == "refused":
        assert found.refused is not None
        assert KNOWN[name]["because"] in found.refused
        assert found.refused.endswith("use an architecture such as gpt2, llama, mistral or qwen")
        return
    assert found.refused is None
    assert max(found.measured.values()) < BOUND
    if KNOWN[name]["result"] == "right":
        assert found.keeps is None
    else:
        assert found.keeps is not None
        assert found.keeps.startswith(f"actions.backspace=true: {found.family} ")
        assert "so that a deleted token would leave its trace; set actions.backspace=false" in found.keeps
        with pytest.raises(ConfigError, match=r"actions\.backspace=true"):
            policy_and_plain(name, backspace=True)


@pytest.mark.parametrize("name", KNOWN)
def test_config_json_alone_tells_what_the_probe_says(name: str) -> None:
    """Refused where the probe refuses; no deletions with the probe's own sentence, or nothing known; else nothing."""
    found, said = verdict(name)[0], known(config_of(name).to_json_string())
    if KNOWN[name]["result"] == "refused":
        assert said is not None
        assert said.refused is not None
        assert KNOWN[name]["because"] in said.refused
        assert said.refused.startswith(f"{said.family} ")
        assert said.refused.endswith("use an architecture such as gpt2, llama, mistral or qwen")
    elif said is not None:
        assert (said.family, said.refused, said.keeps) == (found.family, None, found.keeps)


@pytest.mark.parametrize("name", ["jamba", "qwen3_next", "lfm2"])
def test_a_hybrid_that_is_let_through_is_refused_by_measurement(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason read from the configuration is taken away: the packed pass is then tenths of nats off."""
    monkeypatch.setattr(kinds, "_recurrent", lambda config: False)
    probe.cache_clear()
    found = probe(Architecture.of(config_of(name)))
    probe.cache_clear()
    assert found.refused is not None
    assert "is not computed rightly: packed, with deletions, log-probabilities are up to " in found.refused
    assert max(found.measured.values()) > 0.05


# ------------------------------------------------------------------------------------------- the path to logits

HEADS = ["cohere", "granite_scaled", "gemma2", "gemma3n_text", "minicpm3", "nanochat", "vaultgemma", "recurrent_gemma"]


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("name", [*HEADS, "modernbert_decoder", "bert_decoder"])
def test_the_blocked_loss_of_scaled_and_capped_logits(
    name: str, dtype: str, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradient in every weight, against the model's own whole logits; blocks of four states."""
    monkeypatch.setattr("harness.models.output_layer.LEAST", 4)
    monkeypatch.setattr("harness.models.output_layer.BLOCK", 1)
    policy, plain = policy_and_plain(name, backspace=False, dtype=dtype)
    batch = pack(random_rows(policy, deletes=False)[:2], policy.space, Weighting(gamma=0.9))
    values = policy.evaluate(batch)
    ours = (values.log_prob.sin() * batch.weight).sum() + values.value.square().mean()
    logits = plain(input_ids=batch.input_ids, use_cache=False).logits
    at = batch.state_index[..., None].expand(-1, -1, logits.shape[-1])
    logits = logits.gather(1, at)
    chosen = logits.log_softmax(-1).gather(-1, batch.action[..., None])[..., 0]
    whole = (chosen.sin() * batch.weight).sum() + logits.logsumexp(-1).square().mean()
    assert float((ours - whole).detach()) == pytest.approx(0, abs=bound * max(1.0, abs(float(whole.detach()))))
    ours.backward()  # type: ignore[no-untyped-call]
    whole.backward()
    expected = {name: one.grad for name, one in plain.named_parameters() if one.grad is not None}
    size = max(float(grad.abs().max()) for grad in expected.values())
    for key, one in policy.model.named_parameters():
        if key in expected:
            assert float((one.grad - expected[key]).abs().max()) <= bound * max(1.0, size)


def test_a_cap_is_seen_where_logits_are_small() -> None:
    """Gemma 2 as it is initialised has logits of hundredths, which a cap of 30 leaves alone."""
    policy = Policy(built("gemma2_init", noise=0.0), tokenizer(), CONTEXT)
    assert policy.head.cap == 30


# ---------------------------------------------------------------------------------- families changed in place


@pytest.mark.parametrize(
    "name", ["gpt_neo_win16", "falcon_alibi", "mpt", "bloom", "llama4_chunk16", "modernbert_decoder"]
)
def test_a_frozen_copy_is_its_own_and_blocks_computed_twice_give_the_same_gradient(name: str) -> None:
    policy, _ = policy_and_plain(name, backspace=True)
    batch = pack(random_rows(policy, deletes=True)[:2], policy.space, Weighting(gamma=0.9))

    def gradient(of: Policy) -> list[Tensor]:
        loss = of.evaluate(batch).log_prob.sum()
        return [
            one
            for one in torch.autograd.grad(loss, list(of.parameters().values()), allow_unused=True)
            if one is not None
        ]

    before, frozen = policy.log_sum_exp(batch), policy.frozen_copy()
    once = gradient(policy)
    pretrained.recompute(policy.model)
    for expected, found in zip(once, gradient(policy), strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for one in policy.model.parameters():
            one.mul_(1.1)
    assert torch.equal(frozen.log_sum_exp(batch), before)
    assert not torch.allclose(policy.log_sum_exp(batch), before)


# ------------------------------------------------------------------------------------------------------ bfloat16

BFLOAT16 = [
    *("gpt2", "llama", "mistral_win16", "gemma2_window8", "gemma3_window8", "gpt_neo_win16", "bloom", "falcon_alibi"),
    *("mpt", "cohere", "olmo3_window8", "modernbert_decoder", "llama_ntk", "mamba2"),
]


@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16_is_no_further_from_float32_than_transformers_own(name: str) -> None:
    """Plain bfloat16 passes differ from float32 by rounding; the packed pass and the sampler by at most twice that.

    Both round at the same places, at other sums: the masked pairs are zeros among theirs.
    """
    deletes = KNOWN[name]["result"] == "right"
    policy, plain = policy_and_plain(name, backspace=deletes)
    policy.dtype = "bfloat16"
    rows = random_rows(policy, deletes=deletes)
    batch: Batch = pack(rows, policy.space, Weighting(gamma=0.9))
    with torch.no_grad():
        ours = policy.logits(policy.state_hidden(batch), batch.legal)
    own, theirs = [], []
    for n, row in enumerate(rows):
        for t in range(0, len(row.actions) + 1, 9):
            text = (*row.prompt, *policy.space.reduce(row.actions[:t]))
            exact = fresh(plain, text)
            with torch.autocast("cpu", torch.bfloat16):
                theirs.append(float((fresh(plain, text) - exact).abs().max()))
            own.append(float((ours[n, t] - exact)[ours[n, t] > -torch.inf].abs().max()))
    assert worst(own) <= 2 * max(theirs)
    starts = [Start((0,)), Start((0, *range(10, 14)))]
    gaps = []
    for rollout in sample(policy, starts, seed=5, max_actions=40):
        for t, action in enumerate(rollout.trajectory.actions[::3]):
            text = (*rollout.trajectory.prompt, *policy.space.reduce(rollout.trajectory.actions[: 3 * t]))
            whole = fresh(plain, text)
            if deletes and len(text) == len(rollout.trajectory.prompt):
                whole[policy.space.backspace_id] = -torch.inf
            gaps.append(abs(float(whole.log_softmax(-1)[action]) - rollout.log_probs[3 * t]))
    assert worst(gaps) <= 4 * max(theirs)  # of a logit, and of the sum of all


# ------------------------------------------------------------------------------------------ lengths and batches


def test_rotary_factors_that_change_with_length_bound_the_context() -> None:
    """phi3's change above 64 of 128 tokens, and llama's grow above 256: no row may make them change for others."""
    for name, limit, why in (("phi3_longrope", 64, "longrope"), ("llama_ntk", 256, "dynamic NTK")):
        assert Policy(built(name), tokenizer(), None).context == limit
        with pytest.raises(ConfigError, match=rf"model\.context=257: this model holds {limit} tokens; .*{why}"):
            Policy(built(name), tokenizer(), 257)


@pytest.mark.parametrize("name", ["mistral_win16", "bloom", "gpt_neo_win16", "llama4_chunk16", "jamba", "rwkv", "bart"])
def test_a_rollout_never_depends_on_its_batch(name: str) -> None:
    """Alone, and among rows of other lengths, some of which end before it."""
    policy, _ = policy_and_plain(name, backspace=KNOWN[name]["result"] == "right")
    starts = [Start((0, *range(2, 2 + n))) for n in (0, 9, 3, 20)]
    together = sample(policy, starts, seed=1)
    for n, start in enumerate(starts):
        (alone,) = sample(policy, [start], seed=1, rows=[n])
        assert alone.trajectory == together[n].trajectory
        assert alone.log_probs == pytest.approx(together[n].log_probs, abs=BOUND)


# --------------------------------------------------------------------------------------------------------- table

TITLES = {
    "right": "with and without `<backspace>`",
    "without": "without `<backspace>`, and refused with it",
    "again": "likewise, and every sampled token computes its whole text again",
    "refused": "refused",
}


def table() -> str:
    """The families by what comes out, as the models' README has them."""
    found: dict[str, set[str]] = {title: set() for title in TITLES}
    for name, entry in KNOWN.items():
        result = entry["result"]
        if result == "without" and verdict(name)[0].slow:
            result = "again"
        found[result].add(entry.get("shown", entry["model_type"]))
    lines = ["| | families (transformers' `model_type`) |", "|---|---|"]
    for result, families in found.items():
        named = families if result != "refused" else families - found["right"] - found["without"]
        named = named if result != "again" else named - found["without"]
        lines.append(f"| {TITLES[result]} | {', '.join(f'`{one}`' for one in sorted(named))} |")
    return "\n".join(lines)


def test_the_readme_has_the_table() -> None:
    assert table() in README.read_text(), f"put this into {README}:\n{table()}"


def test_enough_of_them_are_right() -> None:
    entries = json.loads(FILE.read_text())["variants"].values()
    assert len(entries) == 89
    assert sum(entry["result"] != "refused" for entry in entries) >= 75
