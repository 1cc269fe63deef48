"""`transformers` models: build, load, add or drop a vocabulary row, gradient checkpointing.

Policies, in `harness/models/policy.py`, are the interface for the rest of the harness.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.actions.space import BACKSPACE
from harness.config.model import ModelConfig
from harness.errors import EnvironmentProblem
from harness.models.architectures.kinds import longest
from harness.models.tokenizers import END, UNKNOWN, own_vocabulary
from harness.system.model_files import content_of, local

_DAMAGED = (SafetensorError, StrictDataclassError)  # of weights, and of a value in config.json
_ADVICE = "give gpt2 or llama (built from scratch), a directory with config.json, weights and tokenizer, or a Hub id"

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def built(config: ModelConfig, tokenizer: Tokenizer, weights: torch.dtype) -> tuple[Any, Any]:
    """A randomly initialised small model of `config`'s architecture and its tokenizer; equal seeds, equal weights."""
    own = wrapped(tokenizer)
    end = own.eos_token_id
    shared = {"vocab_size": len(own), "bos_token_id": end, "eos_token_id": end}
    assert config.width is not None  # ModelConfig fills both in
    assert config.heads is not None
    if config.name == "gpt2":
        architecture: Any = transformers.GPT2Config(
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel
            **{f"{part}_pdrop": 0.0 for part in ("embd", "attn", "resid")},
            **shared,
        )
    else:
        architecture = transformers.LlamaConfig(
            hidden_size=config.width,
            intermediate_size=config.width * 8 // 3 // 8 * 8,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=max(1, config.heads // 2),
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            **shared,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.base_seed or 0)
        model = transformers.AutoModelForCausalLM.from_config(architecture)
    return model.to(weights), own


def wrapped(tokenizer: Tokenizer) -> Any:
    """A tokenizer of this harness as transformers' own class."""
    special = {"eos_token": END, "bos_token": END}
    if tokenizer.token_to_id(UNKNOWN) is not None:
        special["unk_token"] = UNKNOWN
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special
    )


def loaded(
    name: str | Path, weights: torch.dtype, *, revision: str | None = None, quantised: str | None = None
) -> tuple[Any, Any]:
    """A pretrained model and its tokenizer, from a local directory or the Hub.

    Args:
        name: the directory, or the Hub id.
        weights: the type of its weights, to which stored ones are cast.
        revision: of a Hub id the commit, branch or tag; of a directory its `content_of`, which must still be that.
        quantised: `nf4` holds the linear layers' weights in 4 bits (arXiv 2305.14314, with double quantisation).

    Raises:
        EnvironmentProblem: it is neither a model directory nor reachable on the Hub, the directory's content is not
            `revision`, or 4 bits are asked for where there is no CUDA device or no bitsandbytes.
    """
    options: dict[str, Any] = {"dtype": weights}
    if quantised is not None:
        _check_quantised(quantised)
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantised,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=weights,
        )
    place = _checked(name, revision)
    if place is None:
        options["revision"] = revision
    with _reading(f"model.name={str(name)!r}", _ADVICE):
        model = transformers.AutoModelForCausalLM.from_pretrained(str(place or name), **options)
        _forget_defaults(model.config, str(place or name), revision if place is None else None)
        tokenizer = tokenizer_of(name, revision)
    if grown := make_room(model, tokenizer):
        warnings.warn(
            f"model.name={str(name)!r}: its tokenizer has more tokens than the model has rows; {grown} rows were "
            "appended, each at the mean of the others, and are untrained",
            stacklevel=2,
        )
    return model, tokenizer


def outline(name: str | Path, revision: str | None = None) -> tuple[Any, Any]:
    """As `loaded`, with weights on torch's meta device: shapes alone, neither read nor held.

    Raises:
        EnvironmentProblem: as `loaded`.
    """
    place = _checked(name, revision)
    options = {"revision": revision} if place is None else {}
    with _reading(f"model.name={str(name)!r}", _ADVICE):
        config = transformers.AutoConfig.from_pretrained(str(place or name), **options)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        with suppress(OSError):  # a model may have no such file
            model.generation_config = transformers.GenerationConfig.from_pretrained(str(place or name), **options)
        _forget_defaults(model.config, str(place or name), revision if place is None else None)
        tokenizer = tokenizer_of(name, revision)
    make_room(model, tokenizer)
    return model, tokenizer


def _checked(name: str | Path, revision: str | None) -> Path | None:
    """The directory of a model; None for one of the Hub.

    Raises:
        EnvironmentProblem: the directory's content is not `revision`.
    """
    place = local(name)
    if place is not None and revision is not None and (found := content_of(place)) != revision:
        raise EnvironmentProblem(
            f"model.name={str(name)!r}: its content is {found}, wanted {revision}: the directory has changed; "
            f"restore it, or give the same command again without a revision, or with model.revision={found}: with this "
            "content it is another run"
        )
    return place


@contextmanager
def _reading(what: str, advice: str) -> Iterator[None]:
    """Translate what transformers raises on files that are missing, damaged or of another kind.

    Raises:
        EnvironmentProblem: `what` cannot be loaded; `advice` is what to give instead.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, EOFError, *_DAMAGED) as error:
        reason, *more = (str(error).strip() or type(error).__name__).splitlines()
        reason += f" {more[0].strip()}" if more and reason.endswith(":") else ""
        raise EnvironmentProblem(f"{what} cannot be loaded: {reason}\n{advice} while online") from error


def tokenizer_of(name: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a local directory or a Hub id; errors are transformers' own."""
    place = local(name)
    return transformers.AutoTokenizer.from_pretrained(
        str(place or name), **({"revision": revision} if place is None else {})
    )


# -------------------------------------------------------------------------------------------------------- the ends


def declared_ends(model: Any) -> list[Any]:
    """The ends that a model's config.json and then its generation_config.json declare, as they stand there."""
    found: list[Any] = []
    for config in (model.config, getattr(model, "generation_config", None)):
        given = getattr(config, "eos_token_id", None)
        found += list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    return found


def _forget_defaults(config: Any, name: str, revision: str | None) -> None:
    """Take an end out of a model's configuration that only its architecture's defaults name.

    transformers fills such defaults in, though token 2 of a Llama without ends may be a word like any other.
    """
    options = {} if revision is None else {"revision": revision}
    written, _ = transformers.PreTrainedConfig.get_config_dict(name, **options)
    if "eos_token_id" not in written:
        config.eos_token_id = None


def declare(model: Any, context: int, start: int, ends: Sequence[int], nameless: Sequence[int] = ()) -> None:
    """Write a policy's ends and its law into a model's configurations, in place of the settings of its base.

    Every action of `generate()` is then drawn from the policy's own distribution, nothing changed and nothing cut,
    until an end or `context` tokens; transformers' own defaults are greedy, and of 50 actions if sampling is asked for.
    Rows without a token, `nameless`, are never drawn.  The end pads: with another padding, that token would be
    invisible in a prompt.
    """
    declared = ends[0] if len(ends) == 1 else list(ends)
    model.config.eos_token_id = declared
    model.generation_config = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_length=context,
        bos_token_id=start,
        eos_token_id=declared,
        pad_token_id=ends[0],
        suppress_tokens=list(nameless) or None,
    )


@dataclass(frozen=True)
class Known:
    """Facts about a model that is not loaded.

    Attributes:
        context: tokens that it holds.
        backspace: True if it was exported with its `<backspace>` row.
        weights: the type that its weights are stored in.
    """

    context: int
    backspace: bool
    weights: torch.dtype

    @property
    def dtype(self) -> Literal["float32", "bfloat16", "float64"]:
        """The arithmetic for these weights, as a value of `model.dtype`."""
        if self.weights is torch.float64:
            return "float64"
        return "bfloat16" if self.weights in (torch.bfloat16, torch.float16) else "float32"


def known(name: str | Path, revision: str | None = None) -> Known:
    """Facts about the model in a local directory or on the Hub.

    Raises:
        EnvironmentProblem: `name` is neither a model directory nor reachable on the Hub, or the model has no positions.
    """
    place = local(name)
    with _reading(repr(str(name)), "give a directory with config.json, weights and tokenizer, or a Hub id"):
        config = transformers.AutoConfig.from_pretrained(
            str(place or name), **({"revision": revision} if place is None else {})
        )
        vocabulary = tokenizer_of(name, revision).get_vocab()
    weights = getattr(config, "dtype", None) or torch.float32
    return Known(longest(config), BACKSPACE in vocabulary, weights)


def config_of(name: str | Path, revision: str | None = None) -> Any:
    """The transformers configuration of a model in a local directory, or on the Hub if it has been downloaded.

    Raises:
        EnvironmentProblem: there is none here.
    """
    place = local(name)
    options: dict[str, Any] = {"local_files_only": True}
    if place is None:
        options["revision"] = revision
    with _reading(f"model.name={str(name)!r}", _ADVICE):
        return transformers.AutoConfig.from_pretrained(str(place or name), **options)


def _check_quantised(kind: str) -> None:
    """Refuse 4-bit weights without a CUDA device or bitsandbytes.

    Raises:
        EnvironmentProblem: either is missing.
    """
    if not torch.cuda.is_available():
        raise EnvironmentProblem(
            f"model.quantised={kind}: 4-bit weights need a CUDA device, and torch sees none here; set "
            "model.quantised=null, or run on a machine with one"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EnvironmentProblem(
            f"model.quantised={kind}: bitsandbytes is not installed; pip install 'sequencematch-harness[qlora]', or "
            "set model.quantised=null"
        )


# ------------------------------------------------------------------------------------------------ vocabulary rows


def append_row(model: Any, count: int = 1) -> int:
    """Append `count` rows to the vocabulary, input and output alike, at the mean of the others; the first one's index.

    transformers' own resize draws a new row at random; at the mean its logit starts as the average logit.
    """
    row = int(model.get_input_embeddings().weight.shape[0])
    with torch.random.fork_rng(devices=[]):  # the resize draws the rows that are overwritten below
        model.resize_token_embeddings(row + count, mean_resizing=False)
    with torch.no_grad():
        tables = {id(m.weight): m for m in (model.get_input_embeddings(), model.get_output_embeddings())}
        for table in tables.values():
            table.weight[row:] = table.weight[:row].mean(0)
            if getattr(table, "bias", None) is not None:
                table.bias[row:] = table.bias[:row].mean()
    return row


def make_room(model: Any, tokenizer: Any) -> int:
    """Append the rows that a tokenizer's own tokens lack; returns their number.

    The largest id counts, not the number of tokens: ids may have gaps.  `<backspace>` and named padding rows of an
    exported tokenizer need none, where their rows were dropped.  None are appended where the end itself is no row:
    that is another model's tokenizer, which `Codec` refuses.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    if (tokenizer.eos_token_id or 0) >= rows:
        return 0
    lacking = max(own_vocabulary(tokenizer).values(), default=-1) + 1 - rows
    if lacking > 0:
        append_row(model, lacking)
    return max(lacking, 0)


def drop_row(model: Any) -> None:
    """Remove the last row of the vocabulary, input and output alike."""
    model.resize_token_embeddings(int(model.get_input_embeddings().weight.shape[0]) - 1, mean_resizing=False)


def has_backspace(model: Any, tokenizer: Any) -> bool:
    """True if the vocabulary's last row is `<backspace>`, by the name that `with_backspace` gave it."""
    last = int(model.get_input_embeddings().weight.shape[0]) - 1
    return bool(tokenizer.get_vocab().get(BACKSPACE) == last)


# ----------------------------------------------------------------------------------------- gradient checkpointing


def recompute(model: Any) -> None:
    """Switch gradient checkpointing on: keep only the inputs of each block, and compute it again in the backward pass.

    transformers' own switch needs `training`, which would turn dropout on, and drops the cache while sampling.
    """
    for block in model.modules():
        if isinstance(block, GradientCheckpointingLayer):
            block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    """A block's `forward`, checkpointed where a gradient is needed."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
