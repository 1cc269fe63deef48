"""Natural text: a corpus split by document, with prompts and their human continuations cut from the test documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from benchmarks import corpora, corpus_files, hub
from harness.errors import ConfigError
from harness.records import Example, Splits


@dataclass(frozen=True)
class Text:
    r"""A corpus of documents: `python-docs`, which comes with every Python, a file or folder, or a dataset of the Hub.

    Documents are shuffled by `seed` and go to test, validation and training as whole documents, so that each
    split holds about its share of the characters.  Prompts are consecutive passages of the test documents,
    `prompt_words` words and up to `continuation_words` more; a document's last passage is used when at least half of
    the continuation is there.  Whitespace stays as it is: prompt plus text is a piece of the document, and the text
    starts with the whitespace after the prompt, where subword tokenizers start a token.

    A file ends in .txt (text between separators), .jsonl or .ndjson (an object a line), .json (an array, or as .jsonl),
    .csv or .tsv (the first line names the columns) or .parquet, in capitals, too; all but .parquet may be compressed
    (.gz, .bz2, .xz, .zst behind the ending).  A folder is read as its .parquet files, by name.  `field` names the field
    or column of the texts.  Null texts are left out and counted in a note, or refused (`on_null: error`).

    `separator` is a regular expression, or `line` where each line is a document (for the word itself, `(?:line)`).
    `<\|endoftext\|>` splits a file of stories; `<\|endoftext\|>(?:[^<]*\Z)?` also swallows a last story that lacks the
    mark because the file was cut; `\n(?= = [^=\n]+ = \n)` splits WikiText by article.

    A dataset of the Hub is `hub:OWNER/NAME[/CONFIG]@REVISION[:SPLIT]`, for instance
    `hub:Skylion007/openwebtext@COMMIT:train[:20000]` for its first 20,000 documents; a dataset directory is
    `hub:./FOLDER`.  It takes the package `datasets` (`pip install 'sequencematch-harness[hub]'`) and is streamed.

    Raises:
        ConfigError: the corpus is no known name or file type, an option does not apply to it, or the shares leave
            nothing to train on; from `splits()`, also a file that cannot be read or has too few documents.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        "mauve",
        "perplexity",
        "diversity",
        "diversity@simctg",
        "distinct",
        "ngram_entropy",
        "repetition",
        "seq_rep",
        "self_bleu",
        "memorisation",
        "length",
        "actions",
    )
    selection: ClassVar[tuple[str, str]] = ("mauve", "mauve")

    later_options: ClassVar[tuple[str, ...]] = ("on_null",)

    corpus: Annotated[
        str, Field(min_length=1, description=f"python-docs, a path in {corpus_files.ENDINGS}, a folder, hub:...")
    ] = "python-docs"
    field: Annotated[str | None, Field(description="not for .txt and python-docs: where the text stands; text")] = None
    separator: Annotated[
        str | None,
        Field(min_length=1, description=r".txt only: expression between documents, or line; blank lines, \n\s*\n"),
    ] = None
    seed: Annotated[int, Field(ge=0, description="decides which documents go to which split")] = 0
    validation: Annotated[float, Field(gt=0, lt=1, description="share of the characters")] = 0.05
    test: Annotated[float, Field(gt=0, lt=1, description="share of the characters")] = 0.15
    prompts: Annotated[int, Field(ge=1, description="most prompts; as many documents as possible give one")] = 512
    prompt_words: Annotated[int, Field(ge=1, description="whitespace-separated words of a prompt")] = 16
    continuation_words: Annotated[int, Field(ge=1, description="most words of a human continuation")] = 64
    on_null: Annotated[
        Literal["skip", "error"], Field(description="null texts: left out and counted, or refused; where field applies")
    ] = "skip"

    def __post_init__(self) -> None:
        own = self._own_options
        if own is None:
            raise ConfigError(
                f"benchmark.corpus={self.corpus!r} is neither python-docs nor a file or folder of texts; use "
                f"python-docs, a path in {corpus_files.ENDINGS} (then {corpus_files.PACKED}, but for .parquet), "
                "a folder of .parquet files, or hub:NAME@REVISION"
            )
        if self._kind == hub.PREFIX:
            hub.parse(self.corpus)
        for name in ("field", "separator"):
            given = getattr(self, name)
            if name in own and given is None:
                object.__setattr__(self, name, own[name])
            elif name not in own and given is not None:
                raise ConfigError(f"benchmark.{name}={given!r} does not apply to corpus {self.corpus!r}; remove it")
        if self.on_null != "skip" and "on_null" not in own:
            raise ConfigError(
                f"benchmark.on_null={self.on_null!r}: corpus {self.corpus!r} is of a kind without null texts; remove it"
            )
        if self.separator == corpora.LINE:
            object.__setattr__(self, "separator", r"\n")
        if self.validation + self.test >= 1:
            raise ConfigError(
                f"benchmark.validation={self.validation} and benchmark.test={self.test} leave nothing to train on; "
                "make their sum less than 1"
            )

    @property
    def _own_options(self) -> dict[str, str] | None:
        """The options that apply to this kind of corpus, with their defaults; None for an unknown kind."""
        return _OWN_OPTIONS.get(self._kind or "")

    @property
    def _kind(self) -> str | None:
        """`python-docs`, `hub:` or a kind of file; None for another."""
        if self.corpus == "python-docs":
            return self.corpus
        return hub.PREFIX if self.corpus.startswith(hub.PREFIX) else corpus_files.kind_of(self.corpus)

    def splits(self) -> Splits:
        """The corpus in three disjoint parts, and the prompts."""
        own = {name: getattr(self, name) for name in self._own_options or {}}
        if self._kind == "python-docs":
            read = corpora.Corpus(corpora.python_docs())
        elif self._kind == hub.PREFIX:
            read = hub.read(self.corpus, **own)
        else:
            read = corpora.read(Path(self.corpus), **own)
        documents = read.documents
        order = np.random.default_rng(self.seed).permutation(len(documents))
        train, validation, test = by_share([documents[i] for i in order], (self.validation, self.test))
        if not (train and validation and test):
            hint = "" if self.separator is None else f", or set another benchmark.separator than {self.separator!r}"
            raise ConfigError(
                f"benchmark.corpus={self.corpus!r} has {len(documents)} documents, which do not fill train, "
                f"validation={self.validation} and test={self.test}; give a larger corpus or larger shares{hint}"
                + "".join(f"\n{note}" for note in read.notes)
            )
        prompts = self._prompts(test)
        if not prompts:
            raise ConfigError(
                f"no test document of {self.corpus!r} has the {self.prompt_words} words of a prompt and half of "
                f"{self.continuation_words} more; lower benchmark.prompt_words or benchmark.continuation_words"
            )
        return Splits(
            train=tuple(Example(text) for text in train),
            validation=tuple(Example(text) for text in validation),
            test=tuple(Example(text) for text in test),
            prompts=prompts,
            validation_prompts=self._prompts(validation),
            notes=read.notes,
        )

    def _prompts(self, documents: Sequence[str]) -> tuple[Example, ...]:
        """First passages of all documents, then second ones and so on: a cap leaves the most documents in."""
        cut = [passages(document, self.prompt_words, self.continuation_words) for document in documents]
        rounds = range(max(map(len, cut), default=0))
        ordered = [found[i] for i in rounds for found in cut if i < len(found)]
        return tuple(ordered[: self.prompts])


_OWN_OPTIONS: dict[str, dict[str, str]] = {
    "python-docs": {},
    ".txt": {"separator": corpora.BLANK_LINES},
    ".csv": {"field": corpus_files.FIELD},  # an empty cell is an empty text
    ".tsv": {"field": corpus_files.FIELD},
    **{kind: {"field": corpus_files.FIELD, "on_null": "skip"} for kind in (".jsonl", ".json", ".parquet", hub.PREFIX)},
}


def by_share(documents: Sequence[str], shares: tuple[float, float]) -> tuple[list[str], list[str], list[str]]:
    """Documents in order -> (the rest, the second share's, the first one's, measured in characters).

    `shares` are (validation, test); test takes the first documents, validation the next.  A document belongs where
    its middle character falls, so the sizes are right on average however long the documents are.
    """
    validation, test = shares
    sizes = np.array([len(document) for document in documents], dtype=float)
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    parts = np.searchsorted([test, test + validation], middle, side="right")
    chosen = [[document for document, part in zip(documents, parts, strict=True) if part == i] for i in range(3)]
    return chosen[2], chosen[1], chosen[0]


def passages(document: str, prompt_words: int, continuation_words: int) -> list[Example]:
    """A document's consecutive passages, as prompts with their continuations, exact in every character.

    >>> passages("a b  c d e f", 1, 2)
    [Example(text=' b  c', prompt='a'), Example(text=' e f', prompt='d')]
    """
    words = [match.span() for match in re.finditer(r"\S+", document)]
    least = prompt_words + (continuation_words + 1) // 2
    found = []
    for i in range(0, len(words), prompt_words + continuation_words):
        passage = words[i : i + prompt_words + continuation_words]
        if len(passage) >= least:
            begin, cut, end = passage[0][0], passage[prompt_words - 1][1], passage[-1][1]
            found.append(Example(prompt=document[begin:cut], text=document[cut:end]))
    return found
