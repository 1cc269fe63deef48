"""Features of texts for metrics over whole distributions: pooled hidden states of a causal LM, cached by content."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from harness.actions.batch import pack
from harness.actions.weights import Weighting
from harness.errors import EnvironmentProblem
from harness.models import pretrained
from harness.models.batching import batches
from harness.models.policy import Policy
from harness.plugins.metric import REFERENCE_LM, Unscorable
from harness.records.rollout import Trajectory
from harness.system.model_files import model_id, revision_of

BATCH_NODES = 2**11  # nodes of one forward pass: more of them do not stay in a processor's cache
LONGEST = 512  # tokens of a text that are looked at, where the model holds as many


class Features:
    """(featuriser, pooling, texts) -> float32 [n, F].

    A featuriser is `reference-lm` (the directory given here), a model directory or a Hub id; pooling is `mean` or
    `last`, over the text's own tokens, of the last hidden state.  Texts are cut to 512 tokens or the model's context.
    An empty text has the feature of the bare start token.
    """

    def __init__(self, reference: Path | None, device: torch.device) -> None:
        self.reference = reference
        self.device = device
        self._ids: dict[str, str] = {}
        self._models: dict[str, Policy] = {}
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

    def __call__(self, featuriser: str, pooling: str, texts: Sequence[str]) -> np.ndarray:
        """Features of every text, each text computed once.

        Raises:
            Unscorable: `reference-lm`, and there is none.
            EnvironmentProblem: the featuriser cannot be loaded.
        """
        known = self._known.setdefault((featuriser, pooling), {})
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing or not texts:
            found = pooled(self._model(featuriser), missing, pooling)
            if not texts:
                return found
            known.update(zip(missing, found, strict=True))
        return np.stack([known[text] for text in texts])

    def paired(self, featuriser: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Both sides of each pair cut to the shorter one's number of the featuriser's tokens.

        A pair with an empty side stays as it is: cutting the other to nothing as well would make them equal.
        """
        policy = self._model(featuriser)
        found = []
        for one, other in pairs:
            ends, other_ends = policy.token_ends(one), policy.token_ends(other)
            n = min(len(ends), len(other_ends))
            found.append((one[: ends[n - 1]], other[: other_ends[n - 1]]) if n else (one, other))
        return found

    def _model(self, featuriser: str) -> Policy:
        if featuriser == REFERENCE_LM and self.reference is None:
            raise Unscorable(
                "there is no reference LM here: it is trained on a benchmark's training split; write "
                "[featuriser=DIRECTORY] after the metric's definition, a model directory or a Hub id"
            )
        if featuriser not in self._models:
            name = self.reference if featuriser == REFERENCE_LM and self.reference is not None else featuriser
            revision = revision_of(self.identify(featuriser))
            try:
                self._models[featuriser] = _loaded(str(name), revision, self.device)
            except EnvironmentProblem as error:
                raise EnvironmentProblem(f"featuriser={featuriser!r}: {error}") from error
        return self._models[featuriser]


@lru_cache(maxsize=4)
def _loaded(name: str, revision: str | None, device: torch.device) -> Policy:
    """The model, shared by all cells of a process; features are not, since their last bits depend on the batch.

    Raises:
        EnvironmentProblem: it cannot be loaded, or the directory's content is not `revision`.
    """
    return Policy(*pretrained.loaded(name, torch.float32, revision=revision), None).to(device)


@torch.no_grad()
def pooled(policy: Policy, texts: Sequence[str], pooling: str) -> np.ndarray:
    """Pooled last hidden states, float32 [n, F], in batches of similar length."""
    longest = min(policy.context, LONGEST) - 2  # start and end stand beside them
    tokens = [policy.encode(text)[:longest] for text in texts]
    shortest_first = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    width = int(policy.model.get_output_embeddings().weight.shape[1])
    features = np.zeros((len(texts), width), np.float32)
    for longest_first in batches(reversed(shortest_first), BATCH_NODES, lambda i: len(tokens[i]) + 2):
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
            features[i] = (own.mean(0) if pooling == "mean" else own[-1]).numpy()
    return features
