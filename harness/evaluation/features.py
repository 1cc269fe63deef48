"""Features of texts for metrics over whole distributions: pooled hidden states of a causal LM, cached by content."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.errors import EnvironmentProblem
from harness.evaluation.feature_files import keep, kept
from harness.hashing import content_hash
from harness.models import pretrained
from harness.models.architectures.kinds import longest
from harness.models.batching import batches
from harness.models.codec import Codec
from harness.models.policy import Policy
from harness.plugins.metric import REFERENCE_LM, Unscorable
from harness.records.rollout import Trajectory
from harness.system.model_files import content_of, model_id, revision_of

BATCH_NODES = {"cpu": 2**11}  # nodes of one forward pass by device: more do not stay in a processor's cache
ACCELERATOR_NODES = 2**15  # on any other: enough to keep it busy; 1 GiB for the widest layer of a model of 8e9 weights
LONGEST = 512  # tokens of a text that are looked at, where the model holds as many
POOLINGS = ("mean", "last")
FOLDER = "features"  # in the folder of caches
_CODE = 1  # raise it when features are computed otherwise, so that kept ones are not those of before


class Features:
    """(featuriser, pooling, texts) -> float32 [n, F].

    A featuriser is `reference-lm` (the directory given here), a model directory or a Hub id; pooling is `mean` or
    `last`, over the text's own tokens, of the last hidden state.  One forward pass gives both.  Texts are cut to 512
    tokens or the model's context.  An empty text has the feature of the bare start token.

    With a folder of caches the features of each set of texts are kept in files of its subfolder `features`, by the
    content of the model, the texts and all else that decides their last bits: what is found there is what would be
    computed.
    """

    def __init__(self, reference: Path | None, device: torch.device, cache: Path | None = None) -> None:
        self.reference = reference
        self.device = device
        self.cache = cache
        self._ids: dict[str, str] = {}
        self._models: dict[tuple[str, str], Policy] = {}
        self._codecs: dict[str, Codec] = {}
        self._known: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def identify(self, featuriser: str) -> str:
        """The name stored with a score: `reference-lm:HASH` with the hash of its training, `model:HASH` of a directory.

        A directory is looked at once: its features are those of the content that was there.

        Raises:
            EnvironmentProblem: a file of the directory cannot be read.
        """
        if featuriser == REFERENCE_LM:
            return featuriser if self.reference is None else f"{featuriser}:{self.reference.name}"
        if featuriser not in self._ids:
            self._ids[featuriser] = model_id(featuriser)
        return self._ids[featuriser]

    def __call__(self, featuriser: str, pooling: str, texts: Sequence[str], dtype: str = "float32") -> np.ndarray:
        """Features of every text, each text computed once, whatever the pooling; `dtype` is the model's arithmetic.

        Raises:
            Unscorable: `reference-lm`, and there is none.
            EnvironmentProblem: the featuriser cannot be loaded.
        """
        known = self._known.setdefault((featuriser, dtype), {})
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        at = POOLINGS.index(pooling)
        if missing or not texts:
            found = self._found(featuriser, missing, dtype)
            if not texts:
                none: np.ndarray = found[at]
                return none
            known.update(zip(missing, found.swapaxes(0, 1), strict=True))
        return np.stack([known[text][at] for text in texts])

    def paired(self, featuriser: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Both sides of each pair cut to the shorter one's number of the featuriser's tokens.

        A pair with an empty side stays as it is: cutting the other to nothing as well would make them equal.
        """
        codec = self._codec(featuriser)
        found = []
        for one, other in pairs:
            ends, other_ends = codec.token_ends(one), codec.token_ends(other)
            n = min(len(ends), len(other_ends))
            found.append((one[: ends[n - 1]], other[: other_ends[n - 1]]) if n else (one, other))
        return found

    def _found(self, featuriser: str, texts: Sequence[str], dtype: str) -> np.ndarray:
        """Features [P, n, F] by pooling: kept ones, or computed and kept.

        A file has one set of texts, in their order: the last bits of a text's features depend on the texts beside it.
        """
        content = self._content(featuriser, dtype)
        if self.cache is None or content is None or not texts:
            return pooled(self._model(featuriser, dtype), texts)
        of = [_CODE, content, dtype, LONGEST, _nodes(self.device), _arithmetic(self.device), list(texts)]
        path = self.cache / FOLDER / f"{content_hash(of)}.npy"
        found = kept(path)
        if found is None:
            found = pooled(self._model(featuriser, dtype), texts)
            keep(path, found)
        return found

    def _content(self, featuriser: str, dtype: str) -> str | None:
        """Hash of a featuriser's files, or the commit of a Hub id; None where neither is known."""
        if featuriser == REFERENCE_LM:  # its name is that of its training, whose last bits are a machine's
            return None if self.reference is None else content_of(self.reference)
        content = revision_of(self.identify(featuriser))
        if content is not None:
            return content
        return getattr(self._model(featuriser, dtype).model.config, "_commit_hash", None)

    def _codec(self, featuriser: str) -> Codec:
        """The featuriser's tokenizer, without its weights where it is a directory of a whole model."""
        if featuriser not in self._codecs:
            revision = revision_of(self.identify(featuriser))
            try:
                self._codecs[featuriser] = (
                    self._model(featuriser) if revision is None else _loaded_codec(featuriser, revision)
                )
            except EnvironmentProblem:  # an adapter has no configuration of its own; and the message is `_model`'s
                self._codecs[featuriser] = self._model(featuriser)
        return self._codecs[featuriser]

    def _model(self, featuriser: str, dtype: str = "float32") -> Policy:
        if featuriser == REFERENCE_LM and self.reference is None:
            raise Unscorable(
                "there is no reference LM here: it is trained on a benchmark's training split; write "
                "[featuriser=DIRECTORY] after the metric's definition, a model directory or a Hub id"
            )
        if (featuriser, dtype) not in self._models:
            name = self.reference if featuriser == REFERENCE_LM and self.reference is not None else featuriser
            revision = revision_of(self.identify(featuriser))
            try:
                self._models[featuriser, dtype] = _loaded(str(name), revision, self.device, dtype)
            except EnvironmentProblem as error:
                raise EnvironmentProblem(f"featuriser={featuriser!r}: {error}") from error
        return self._models[featuriser, dtype]


def _nodes(device: torch.device) -> int:
    """Nodes of one forward pass on a device."""
    return BATCH_NODES.get(device.type, ACCELERATOR_NODES)


def _arithmetic(device: torch.device) -> list[Any]:
    """All of a machine and its libraries that moves the last bits of a forward pass, or the tokens."""
    if device.type == "cuda":
        machine: Any = torch.cuda.get_device_name(device)
    else:
        machine = [device.type, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    return [machine, *map(version, ("torch", "transformers", "tokenizers"))]


@lru_cache(maxsize=4)
def _loaded(name: str, revision: str | None, device: torch.device, dtype: str) -> Policy:
    """The model, shared by all cells of a process, its weights in the type of its arithmetic.

    Raises:
        EnvironmentProblem: it cannot be loaded, or the directory's content is not `revision`.
    """
    return Policy(*pretrained.loaded(name, getattr(torch, dtype), revision=revision), None, dtype).to(device)


@lru_cache(maxsize=4)
def _loaded_codec(name: str, revision: str) -> Codec:
    """The tokenizer of a model directory; raises as `_loaded`."""
    model, tokenizer = pretrained.outline(name, revision)
    size = int(model.get_input_embeddings().weight.shape[0])
    return Codec(tokenizer, size, longest(model.config), pretrained.declared_ends(model))


@torch.no_grad()
def pooled(policy: Policy, texts: Sequence[str]) -> np.ndarray:
    """Pooled last hidden states, float32 [P, n, F] in the order of `POOLINGS`, in batches of similar length."""
    most = min(policy.context, LONGEST) - 2  # start and end stand beside them
    tokens = [policy.encode(text)[:most] for text in texts]
    shortest_first = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    width = int(policy.model.get_output_embeddings().weight.shape[1])
    features = np.zeros((len(POOLINGS), len(texts), width), np.float32)
    for longest_first in batches(reversed(shortest_first), _nodes(policy.device), lambda i: len(tokens[i]) + 2):
        chunk = longest_first[::-1]  # a row's last bits depend on its place, too
        # the end as the last action makes the start token's row valid when a text is empty; its node is not pooled
        batch = pack(
            [Trajectory((policy.start_id,), (*tokens[i], policy.end_id)) for i in chunk],
            policy.space,
            Weighting(kind="uniform"),
        ).to(policy.device)
        hidden = policy.hidden(batch).float().cpu()
        for row, i in enumerate(chunk):
            own = hidden[row, 1 : 1 + len(tokens[i])] if tokens[i] else hidden[row, :1]
            features[0, i], features[1, i] = own.mean(0).numpy(), own[-1].numpy()
    return features
