"""Trained policies outside of a run: loaded from a store, or as a folder that transformers alone can load."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import torch

from harness import DEFAULT_STORE, lora, models
from harness.bases import base_folder, start_policy
from harness.config import RunConfig
from harness.errors import EnvironmentProblem, StoreError
from harness.policies import find, policy_folder
from harness.policy import Policy
from harness.samples import find_run
from harness.store import Store

ABOUT = "harness.json"  # what the harness, and nobody else, has to know of an exported policy
_RUN = re.compile(r"[0-9a-f]{1,16}")
_STALE = ("*.safetensors", "*.safetensors.index.json", "*.bin")


def load_policy(what: str | Path, store: Store | str = DEFAULT_STORE, device: str | torch.device = "cpu") -> Policy:
    """A policy to sample from: a run's, an exported one's, or any pretrained model's.

    Args:
        what: a run id or its beginning, a directory, or a Hub id.
        store: where runs are.
        device: where to.

    A LoRA comes back folded into the weights it stood beside, in float32 at least: bfloat16 weights would round away
    much of what it has learned.  Where these had 4 bits, it is folded into what they were
    made from, so that it can be used anywhere; that is not quite the function that was trained.

    Raises:
        StoreError: the run is not finished, trains nothing, or its policy is not there any more.
        UnknownName: no such run, or several.
        EnvironmentProblem: neither a directory with a model nor a Hub id that can be reached.
    """
    place = models.local(what)
    if place is None and _RUN.fullmatch(str(what)):
        opened = store if isinstance(store, Store) else Store.open(store, read_only=True)
        return of_run(opened, find_run(opened, str(what)), torch.device(device))
    try:
        known = models.known(what)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"no run id, which is hexadecimal, and no model: {error}") from error
    about = about_of(place)
    dtype = about.get("dtype", known.dtype)
    weights = known.weights if dtype == "bfloat16" and known.weights is torch.bfloat16 else None
    return Policy.load(what if place is None else place, about.get("context"), dtype, weights=weights).to(
        torch.device(device)
    )


def of_run(store: Store, run_id: str, device: torch.device) -> Policy:
    """The policy that a finished run trained."""
    config, facts = store.config(run_id), store.provenance(run_id)
    if config.control is not None:
        raise StoreError(f"run {run_id} is the control {config.control!r}, which trains no policy; give another run")
    if facts is None:
        raise StoreError(f"run {run_id} is not finished; `harness run` its grid, then use it")
    base = None
    if config.model.from_scratch:
        base = base_folder(store.folder / "cache", config, facts["data_hash"])
    # 4-bit weights cannot take a LoRA in, nor stand on every machine
    whole = config.model_copy(update={"model": config.model.model_copy(update={"quantised": None})})

    def start() -> Policy:
        return start_policy(whole, base, device)

    if config.untrained:
        return start()
    folder = policy_folder(store.folder, config)
    found = find(folder, config, facts["data_hash"], device, start)
    if found is None:
        raise StoreError(
            f"run {run_id}: its policy is not in {folder}, or is damaged, or lacks the model that it stood beside "
            f"({base or config.model.name}); restore the folder from a copy, or train it again in another folder"
        )
    lora.fold(found[0])
    return found[0]


def export(policy: Policy, directory: Path, card: str, *, overwrite: bool = False) -> None:
    """Write a policy as a `save_pretrained` folder: configuration, weights (safetensors), tokenizer, model card.

    Its tokenizer knows `<backspace>` as a special token with the id of the model's row.  A value head, which no text
    depends on, is left out.

    Raises:
        EnvironmentProblem: the directory holds something and `overwrite` is False, or cannot be written.
        ConfigError: the tokenizer has a `<backspace>` of its own.
    """
    try:
        if directory.exists() and not directory.is_dir():
            raise EnvironmentProblem(f"{directory} is a file; give a directory that is new or empty")
        if directory.is_dir() and any(directory.iterdir()) and not overwrite:
            raise EnvironmentProblem(f"{directory} is not empty; give another directory, or --overwrite")
        directory.mkdir(parents=True, exist_ok=True)
        for stale in [path for pattern in _STALE for path in directory.glob(pattern)]:
            stale.unlink()  # shards of another model would stand beside this one's
        tokenizer = copy.deepcopy(policy.tokenizer)
        if policy.space.backspace_id is not None and not models.has_backspace(policy.model, tokenizer):
            models.with_backspace(tokenizer, policy.space.backspace_id)
        tokenizer.model_max_length = policy.context
        policy.model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        (directory / ABOUT).write_text(json.dumps({"context": policy.context, "dtype": policy.dtype}) + "\n")
        (directory / "README.md").write_text(card)
    except OSError as error:
        raise EnvironmentProblem(f"{directory} cannot be written: {error.strerror or error}") from error


def about_of(place: Path | None) -> dict[str, Any]:
    """What `export` wrote of a policy's `context` and `dtype`; empty for a model from elsewhere.

    Raises:
        EnvironmentProblem: the file is damaged.
    """
    if place is None or not (place / ABOUT).is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads((place / ABOUT).read_text())
        return {"context": int(found["context"]), "dtype": str(found["dtype"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f'{place / ABOUT} is damaged; write {{"context": TOKENS, "dtype": "float32"}}, or export the policy again'
        ) from error


# -------------------------------------------------------------------------------------------------- the model card

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
As from any causal language model: a text starts with token {start} and ends with token {end}.

```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
prompt = [{start}, *tokenizer.encode("", add_special_tokens=False)]  # your prompt between the quotes
text = model.generate(torch.tensor([prompt]), do_sample=True, top_k=0, max_length={context}, eos_token_id={end})[0]
print(tokenizer.decode(text, skip_special_tokens=True))
```
"""
_DELETES = """\
`<backspace>` (token {backspace}) is an action: it deletes the token before it.  It is illegal where nothing has been
written after the prompt.  What comes next depends on the text as it then stands, as if the deleted token had never been
there.  `generate()` knows nothing of this: it would print the deleted tokens, and look at them.  A text starts with
token {start} and ends with token {end}.

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
        logits[backspace] = -torch.inf
    action = int(torch.multinomial(logits.softmax(-1), 1))
    if action == backspace:
        text.pop()
    elif action != {end} and len(text) < {context}:
        text.append(action)
    else:
        break
print(tokenizer.decode(text, skip_special_tokens=True))
```
"""


def card(policy: Policy, config: RunConfig, data_hash: str) -> str:
    """The model card of a run's policy: what it is, and how to sample from it with transformers alone."""
    model, training = config.model, config.training
    plugins = {name: getattr(config, name) for name in ("trainer", "benchmark")}
    said = {
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
        notes.append(f"A LoRA of rank {model.lora_r} (alpha {model.lora_alpha:g}, {model.lora_targets}) is folded in.")
        if model.dtype == "bfloat16":
            notes.append(
                "It was trained with bfloat16 arithmetic beside frozen weights and is float32 here; in bfloat16 much "
                "of what it has learned would be rounded away."
            )
    if model.quantised:
        notes.append(
            f"It was trained beside {model.quantised} weights and is folded into the unquantised ones: not quite the "
            "function that was trained."
        )
    values = {
        "context": policy.context,
        "start": policy.start_id,
        "end": policy.end_id,
        "backspace": policy.space.backspace_id,
    }
    return _CARD.format(
        label=config.label,
        run_id=config.run_id,
        trainer="none: the model as it was found" if config.untrained else said["trainer"],
        actions="tokens and the end" if policy.space.backspace_id is None else f"with <backspace>; {noise}",
        base=base,
        benchmark=said["benchmark"],
        data_hash=data_hash,
        budget=budget,
        lr=training.lr,
        seed=config.seeds.train,
        dtype=policy.dtype,
        context=policy.context,
        notes="".join(f"\n{note}\n" for note in notes),
        how=(_PLAIN if policy.space.backspace_id is None else _DELETES).format(**values).rstrip(),
    )
