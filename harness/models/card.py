"""The model card of an exported policy: its origin, and how to sample from it."""

from __future__ import annotations

from harness.config.run import RunConfig
from harness.models.policy import Policy

_CARD = """\
---
library_name: transformers
---

# {label}

A causal language model, trained by sequencematch-harness as run `{run_id}`.

| | |
|---|---|
| objective | {trainer} |
| action space | {actions} |
| base | {base} |
| training data | {benchmark}, data hash {data_hash} |
| budget | {budget}, learning rate {lr}, seed {seed} |
| context | {context} tokens, prompt and end included |
| arithmetic | {dtype} |
{notes}
## How to sample

{how}
"""

_PLAIN = """\
As with any causal language model; a text starts with token {start} and ends with token {end}.  The defaults of
`generate()` here are the policy's own law: every token is drawn from the model's distribution, nothing cut.

```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
prompt = torch.tensor([[{start}, *tokenizer.encode("", add_special_tokens=False)]])  # your prompt between the quotes
text = model.generate(prompt, attention_mask=torch.ones_like(prompt))[0]
print(tokenizer.decode(text, skip_special_tokens=True))
```
"""

_DELETES = """\
`<backspace>` (token {backspace}) is an action: it deletes the token before it.  It is illegal directly after the
prompt, where there is nothing to delete.  The next action depends on the remaining text alone, as if the deleted token
had never been written.  `generate()` does not delete: deleted tokens would stay in the text, and the model would attend
to them.  Use this loop instead.  A text starts with token {start} and ends with token {end}.

```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
backspace = tokenizer.convert_tokens_to_ids("<backspace>")
text = [{start}, *tokenizer.encode("", add_special_tokens=False)]  # your prompt between the quotes
prompt = len(text)
for _ in range(2 * {context}):  # actions
    with torch.no_grad():
        logits = model(torch.tensor([text])).logits[0, -1].float()
    if len(text) == prompt:
        logits[backspace] = -torch.inf{mute}
    action = int(torch.multinomial(logits.softmax(-1), 1))
    if action in {ends}:
        break
    elif action == backspace:
        text.pop()
    else:
        text.append(action)
    if len(text) == {context}:
        break
print(tokenizer.decode(text, skip_special_tokens=True))
```
"""

_MUTE = """
    logits[model.generation_config.suppress_tokens] = -torch.inf  # rows of its table without a token"""


def card(policy: Policy, config: RunConfig, data_hash: str) -> str:
    """The model card of a run's policy, in Markdown: its origin, and how to sample from it with transformers alone."""
    model, training = config.model, config.training
    plugins = {name: getattr(config, name) for name in ("trainer", "benchmark")}
    shown = {
        name: ", ".join([one.name, *(f"{key}={value}" for key, value in one.options.items() if value is not None)])
        for name, one in plugins.items()
    }
    budget = next(
        f"{n} {unit}" for unit in ("steps", "tokens", "seconds") if (n := getattr(training, unit)) is not None
    )
    base = f"{model.name}" + (f" at {model.revision}" if model.revision else "")
    if model.from_scratch:
        base += f" of {model.layers} layers, width {model.width}, {model.base_steps} steps of maximum likelihood"
    noise = f"{config.actions.noise_kind} mistakes at rate {config.actions.noise_rate} in training"
    notes = []
    if model.lora_r is not None:
        where = "" if policy.layers is None else f"; it was trained {policy.layers}"
        notes.append(
            f"A LoRA of rank {model.lora_r} (alpha {model.lora_alpha:g}, {model.lora_targets}) is folded in{where}."
        )
        if model.dtype == "bfloat16":
            notes.append(
                "It was trained with bfloat16 arithmetic on frozen weights and is float32 here: rounding to bfloat16 "
                "would lose much of what was learned."
            )
    if model.quantised:
        notes.append(
            f"It was trained on frozen {model.quantised} weights and is folded into the unquantised ones, so that its "
            "probabilities differ slightly from those in training."
        )
    ends = (policy.end_id, *sorted(policy.space.other_ends))
    values = {
        "context": policy.context,
        "start": policy.start_id,
        "end": " or ".join(map(str, ends)),
        "ends": list(ends),
        "backspace": policy.space.backspace_id,
        "mute": _MUTE if policy.space.nameless else "",
    }
    return _CARD.format(
        label=config.label,
        run_id=config.run_id,
        trainer="none: the model was not trained" if config.untrained else shown["trainer"],
        actions="tokens and the end" if policy.space.backspace_id is None else f"with <backspace>; {noise}",
        base=base,
        benchmark=shown["benchmark"],
        data_hash=data_hash,
        budget=budget,
        lr=training.lr,
        seed=config.seeds.train,
        dtype=policy.dtype,
        context=policy.context,
        notes="".join(f"\n{note}\n" for note in notes),
        how=(_PLAIN if policy.space.backspace_id is None else _DELETES).format(**values).rstrip(),
    )
