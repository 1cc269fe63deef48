"""A policy: any transformers causal LM with its tokenizer, an optional `<backspace>` row and a value function.

`models/pretrained.py` builds and loads the model, `models/codec.py` turns text into tokens and back.
Dropout is off everywhere: a policy is a function of its weights.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from harness.actions.batch import ActionValues, Batch
from harness.config.model import ModelConfig
from harness.errors import ConfigError
from harness.models import pretrained
from harness.models.architectures.families import prepare
from harness.models.architectures.head import Head, head_of
from harness.models.architectures.kinds import base_of, bounds, kind_of, longest
from harness.models.architectures.layers import Layers
from harness.models.architectures.masks import Seen, seeing
from harness.models.architectures.stream import Stream, steps_alike
from harness.models.attention import Nodes, additive, attend_in_blocks
from harness.models.codec import Codec
from harness.models.output_layer import States, sums_and_chosen
from harness.plugins.trainer import Value


class Policy(Codec):
    """A causal LM as a policy over the action space.

    Attributes, beside those of `Codec`, whose `space` has `<backspace>` once `add_backspace` was called:
        model: the transformers model.
        kind: the model's abilities; `<backspace>` is not for all.
        head: how its logits come from its hidden states and its output embeddings.
        dtype: the arithmetic, as `model.dtype` of a configuration; bfloat16 arithmetic may have float32 weights.
        value: the value function that `evaluate` returns.
        value_head: the linear layer [F] -> [1] for `value = head`, or None.
        reference: a frozen policy for `value = reference`, or None.
        untied: True if `set_scope` gave the output layer weights of its own.
        adapted: True if a LoRA is attached to frozen weights; see `harness/models/lora.py`.
        layers: the layers that it stands beside, also once it is folded in; None without one.
    """

    def __init__(self, model: Any, tokenizer: Any, context: int | None, dtype: str = "float32") -> None:
        """A policy of a loaded model; without `context`, of all tokens that it holds.

        Raises:
            ConfigError: the model holds fewer tokens, it has no end token (see `Codec`), or its logits come from hidden
                states in a way that is not supported.
        """
        limit = longest(model.config)
        if context is not None and context > limit:
            why = "".join(f"; {reason}" for bound, reason in bounds(model.config) if bound == limit)
            raise ConfigError(f"model.context={context}: this model holds {limit} tokens; use at most that{why}")
        self.kind = kind_of(model)
        size = int(model.get_input_embeddings().weight.shape[0])
        super().__init__(tokenizer, size, context or limit, pretrained.declared_ends(model))
        self.model = model.eval()
        attend_in_blocks(model)
        prepare(model)
        self.dtype = dtype
        if pretrained.has_backspace(model, tokenizer):
            self.mark_backspace()
        self.value: Value = "logsumexp"
        self.value_head: nn.Linear | None = None
        self.reference: Policy | None = None
        self.untied = False
        self.adapted = False
        self.layers: Layers | None = None
        self._looks_everywhere = False  # True once no layer has asked for a mask of its own
        self._steps: bool | None = None  # True if single tokens may be computed with the model's cache
        self.head = self._head_of()

    def _head_of(self) -> Head:
        """The path from hidden states to logits, held against the model's own."""
        ids = torch.tensor([[self.start_id, self.end_id]], device=self.device)
        with torch.no_grad(), self.autocast():
            return head_of(self.model, ids)

    # -------------------------------------------------------------------------------------------- life cycle

    @classmethod
    def build(cls, config: ModelConfig, tokenizer: Tokenizer) -> Policy:
        """A randomly initialised small model of `config`'s architecture; equal seeds give equal weights."""
        model, wrapped = pretrained.built(config, tokenizer, _weights(config.dtype))
        return cls(model, wrapped, config.context, config.dtype)

    @classmethod
    def load(
        cls, name: str | Path, context: int | None, dtype: str = "float32", *, weights: torch.dtype | None = None
    ) -> Policy:
        """The policy of a pretrained model, from a local directory or the Hub; `context` as in `Policy`.

        `weights` is the type of the weights, where it differs from the one that training with `dtype` would use.

        Raises:
            EnvironmentProblem: `name` is neither a model directory nor reachable on the Hub.
        """
        return cls(*pretrained.loaded(name, weights or _weights(dtype)), context, dtype)

    @classmethod
    def start(cls, config: ModelConfig, base: Path | None, *, frozen: bool = False) -> Policy:
        """The policy before training: from the directory `base`, or (None) the pretrained model of `config`.

        With bfloat16 arithmetic the weights are bfloat16 under a LoRA; without any training (`frozen`) they are
        bfloat16 only if they are stored so.  All other weights are float32, or float64.

        Raises:
            EnvironmentProblem: it cannot be loaded, is not the stated revision, or 4 bits are not available here.
        """
        name, revision = (config.name, config.revision) if base is None else (base, None)
        weights = _weights(config.dtype)
        if config.dtype == "bfloat16" and (
            config.lora_r is not None or (frozen and pretrained.known(name, revision).weights is torch.bfloat16)
        ):
            weights = torch.bfloat16
        loaded = pretrained.loaded(name, weights, revision=revision, quantised=config.quantised)
        policy = cls(*loaded, config.context, config.dtype)
        if config.gradient_checkpointing:
            pretrained.recompute(policy.model)
        return policy

    def save(self, directory: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, as `load` reads them; no value head.

        `generate()` of transformers samples by default as the policy does, whatever the base's settings were.
        """
        ends = (self.end_id, *sorted(self.space.other_ends))
        pretrained.declare(self.model, self.context, self.start_id, ends, sorted(self.space.nameless))
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def add_backspace(self) -> None:
        """Append the `<backspace>` row to the vocabulary, input and output alike, at the mean of the other rows.

        Raises:
            ConfigError: the model cannot go back to an earlier state.
        """
        self.kind.check_backspace()
        if self.space.backspace_id is None:
            row = pretrained.append_row(self.model)
            self.space = self.space_of(row + 1, backspace_id=row)

    def drop_backspace(self) -> None:
        """Remove the `<backspace>` row, if there is one: the other actions' probabilities are renormalised."""
        if self.space.backspace_id is not None:
            pretrained.drop_row(self.model)
            self.space = self.space_of(self.space.size - 1)

    def mark_backspace(self) -> None:
        """Declare the vocabulary's last row to be `<backspace>`, for a policy saved with it (see `add_backspace`)."""
        self.space = self.space_of(self.space.size, backspace_id=self.space.size - 1)

    def set_value(self, value: Value, reference: Policy | None = None) -> None:
        """Choose the value function V(s).

        `logsumexp` is that of the legal logits, `head` a zero-initialised linear layer on the hidden state, and
        `reference` the log-sum-exp minus that of a frozen policy (a copy of this one when none is given).
        """
        self.value = value
        self.value_head = None
        self.reference = reference
        if value == "head":
            width = int(self.model.get_output_embeddings().weight.shape[1])
            self.value_head = nn.Linear(width, 1).to(device=self.device, dtype=_weights(self.dtype))
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        if value == "reference" and reference is None:
            self.reference = self.frozen_copy()

    def set_scope(self, scope: Literal["full", "head"]) -> None:
        """Choose the trained parameters: all, or the output layer alone (and the value head, if there is one).

        An output layer that shares its weights with the input embeddings is untied first, since training it would
        otherwise move the inputs too; the policy is the same function before and after.
        """
        if scope == "full":
            return
        self.model.requires_grad_(False)
        head = self.model.get_output_embeddings()
        if head.weight is self.model.get_input_embeddings().weight:
            head.weight = nn.Parameter(head.weight.detach().clone())
            self.model.config.tie_word_embeddings = False  # saved and loaded as two tables
            self.untied = True
        head.requires_grad_(True)

    def frozen_copy(self) -> Policy:
        """Copy of the policy as it is now, without trained parameters; its value function is `logsumexp`."""
        frozen = copy.copy(self)
        frozen.model = copy.deepcopy(self.model).requires_grad_(False)
        frozen.value, frozen.value_head, frozen.reference = "logsumexp", None, None
        return frozen

    def to(self, device: torch.device) -> Policy:
        """Move everything to `device`, in place."""
        placed = getattr(self.model, "is_quantized", False)  # 4-bit weights are placed when they are loaded
        for module in filter(None, (None if placed else self.model, self.value_head)):
            module.to(device)
        if self.reference is not None:
            self.reference.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(next(iter(self.model.parameters())).device)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trained parameters by name; tied weights once."""
        found = {f"model.{name}": p for name, p in self.model.named_parameters() if p.requires_grad}
        if self.value_head is not None:
            found |= {f"value_head.{name}": p for name, p in self.value_head.named_parameters()}
        return found

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of bfloat16 arithmetic, if the configuration asks for it."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext()

    # ----------------------------------------------------------------------------------------- forward passes

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states [N, T, F] of every node, by one forward pass.

        Raises:
            ConfigError: the batch deletes, and the model cannot go back to an earlier state.
        """
        if batch.plain:  # right padding is invisible to a causal model
            return self._run(input_ids=batch.input_ids, use_cache=False)
        self.kind.check_backspace()
        depth = batch.position_ids
        seen = Seen(additive(batch.visible(), self.compute_dtype), depth, lambda: depth)
        return self._see(seen, input_ids=batch.input_ids, use_cache=False)

    def state_hidden(self, batch: Batch) -> Tensor:
        """Hidden states [N, A + 1, F] of the state before each action, and of the last one."""
        hidden = self.hidden(batch)
        return hidden.gather(1, batch.states[..., None].expand(-1, -1, hidden.shape[-1]))

    def last_hidden(self, ids: Tensor) -> Tensor:
        """Hidden states [N, F] after plain texts of one length, [N, T] token ids."""
        return self._run(input_ids=ids, use_cache=False)[:, -1]

    def new_cache(self) -> Nodes:
        """An empty append-only cache for `extend`."""
        return Nodes(self.model.config)

    @torch.no_grad()
    def extend(self, cache: Nodes, input_ids: Tensor, position_ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [N, K, F] of K new nodes, which join the cache of S earlier ones.

        input_ids, position_ids: [N, K]; mask: [N, K, S + K], added to each new node's attention scores, see `additive`.
        """
        if not self._looks_everywhere:
            cache.join(position_ids)
        seen = Seen(mask[:, None], position_ids, cache.depths)
        return self._see(seen, input_ids=input_ids, past_key_values=cache, use_cache=True)

    def new_stream(self) -> Stream:
        """The states of a model that cannot go back, in the order of a text."""
        parts = self._run, self.model.config, self.kind
        if self._steps is None:
            ids = torch.tensor([[self.start_id, self.end_id] * 3], device=self.device)
            self._steps = steps_alike(*parts, ids)
        return Stream(*parts, cached=self._steps)

    def _see(self, seen: Seen, **options: Any) -> Tensor:
        """Hidden states of nodes that see `seen` and stand at its depths."""
        if self.kind.positions:
            options["position_ids"] = seen.query
        if self._looks_everywhere:
            return self._run(attention_mask=seen.added, **options)
        every = seen.added.new_ones((len(seen.query), seen.added.shape[-1]), dtype=torch.long)
        with seeing(seen):  # without a mask of ones, positions that go back would be read as a new text
            hidden = self._run(attention_mask=every, **options)
        self._looks_everywhere = bool(seen.asked) and all(seen.asked)
        return hidden

    def _run(self, **options: Any) -> Tensor:
        """Hidden states of the model's base, as its output layer takes them."""
        with self.autocast():
            hidden: Tensor = base_of(self.model)(**options).last_hidden_state
            return hidden if self.head.before is None else self.model.get_submodule(self.head.before)(hidden)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of attention's arithmetic."""
        return torch.bfloat16 if self.dtype == "bfloat16" else _weights(self.dtype)

    def logits(self, hidden: Tensor, legal: Tensor) -> Tensor:
        """Logits [..., V] in float32 or wider from hidden states [..., F]; an illegal `<backspace>` is -inf.

        legal: [...] bool.
        """
        with self.autocast():
            logits: Tensor = self.model.get_output_embeddings()(hidden)
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        logits = self.head.after(logits)
        if self.space.backspace_id is not None:  # in place: another [..., V] would cost as much as the softmax
            logits[..., self.space.backspace_id] = logits[..., self.space.backspace_id].masked_fill(~legal, -torch.inf)
        return logits

    def evaluate(self, batch: Batch) -> ActionValues:
        """Action values of a batch by one forward pass (two with `value = reference`)."""
        states = States.of(self.hidden(batch), batch)
        sums, chosen = self._through_head(states, states.where[:, :-1].flatten(), batch.action.flatten())
        total = states.spread(sums)
        if self.value_head is not None:
            value = states.spread(self.value_head(states.hidden.to(self.value_head.weight.dtype))[:, 0])
        elif self.reference is not None:
            value = total - self.reference.log_sum_exp(batch)
        else:
            value = total
        return ActionValues(
            log_prob=chosen.view(batch.action.shape) - total[:, :-1],
            value=value[:, :-1],
            next_value=value[:, 1:],
            end_value=value[:, -1],
        )

    @torch.no_grad()
    def log_sum_exp(self, batch: Batch) -> Tensor:
        """[N, A + 1] log-sum-exp of the legal logits in every state, without gradient."""
        states = States.of(self.hidden(batch), batch)
        nothing = batch.action.new_empty(0)
        return states.spread(self._through_head(states, nothing, nothing)[0])

    def _through_head(self, states: States, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """`sums_and_chosen` of the output layer."""
        head = self.model.get_output_embeddings()
        half = torch.bfloat16 if self.dtype == "bfloat16" else states.hidden.dtype  # as autocast would have it
        bias = None if head.bias is None else head.bias.to(half)
        hidden, scale = states.hidden.to(half), self.head.scale
        if scale != 1.0:  # (scale h) W' + scale b: in half precision exact for powers of two, as in use
            hidden, bias = hidden * scale, None if bias is None else bias * scale
        layer = hidden, head.weight.to(half), bias
        return sums_and_chosen(*layer, states.legal, self.space.backspace_id, state, action, cap=self.head.cap)


def _weights(dtype: str) -> torch.dtype:
    return torch.float64 if dtype == "float64" else torch.float32
