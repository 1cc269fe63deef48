"""The text benchmark: documents stay whole and apart, prompts and continuations are exact pieces of test documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.text import Text, by_share, passages
from harness.config.run import RunConfig
from harness.config.section import Plugin
from harness.errors import ConfigError
from harness.plugins.options import build, resolve
from harness.records import Splits
from harness.registry import BENCHMARKS


def texts_of(splits: Splits) -> list[str]:
    return [example.text for part in (splits.train, splits.validation, splits.test) for example in part]


def corpus_of(path: Path, documents: int, words: int) -> str:
    """A .jsonl file of documents `d0w0 d0w1 ...`, so that every word says where it comes from."""
    lines = [json.dumps({"text": " ".join(f"d{d}w{w}" for w in range(words))}) for d in range(documents)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_passages_by_hand() -> None:
    """2 + 3 words.  Words 1-5 and 6-10 fill two passages; 11-14 are 2 + 2, and 2 >= half of 3, so they count."""
    document = "one two  three\nfour five six seven eight nine ten eleven twelve thirteen\n\nfourteen"
    found = [(example.prompt, example.text) for example in passages(document, 2, 3)]
    assert found == [
        ("one two", "  three\nfour five"),
        ("six seven", " eight nine ten"),
        ("eleven twelve", " thirteen\n\nfourteen"),
    ]
    assert len(passages(document.removesuffix("\n\nfourteen"), 2, 3)) == 2
    assert passages("too short", 2, 3) == []


def test_a_document_goes_where_its_middle_character_falls() -> None:
    """Sizes 10, 20, 30, 40 of 100; middles at .05, .20, .45, .80.  Test takes [0, .1), validation [.1, .4)."""
    documents = ["a" * 10, "b" * 20, "c" * 30, "d" * 40]
    assert by_share(documents, (0.3, 0.1)) == ([documents[2], documents[3]], [documents[1]], [documents[0]])


def test_shares_prompts_and_cap(tmp_path: Path) -> None:
    """100 equal documents of 12 words: 10 in test, 20 in validation.  Passages of 2 + 4 words, two per document:
    a cap of 15 takes the 10 first passages and 5 second ones."""
    corpus = corpus_of(tmp_path / "c.jsonl", 100, 12)
    made = Text(corpus=corpus, validation=0.2, test=0.1, prompts=15, prompt_words=2, continuation_words=4).splits()
    assert len(made.test) == pytest.approx(10, abs=1)
    assert len(made.validation) == pytest.approx(20, abs=1)
    first = [example.prompt.split()[0].split("w")[1] for example in made.prompts]
    assert first == ["0"] * len(made.test) + ["6"] * (15 - len(made.test))


def test_prompt_and_text_are_pieces_of_test_documents(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c.jsonl", 60, 40)
    made = Text(corpus=corpus, prompt_words=3, continuation_words=5).splits()
    whole = {example.text for example in made.test}
    for example in made.prompts:
        assert any(example.prompt + example.text in document for document in whole)
        assert len(example.prompt.split()) == 3
        assert example.text[0].isspace()
        assert not example.text[-1].isspace()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "python-doc"}, "use python-docs, a path"),
        ({"corpus": "nowhere.txt"}, "nowhere.txt': no such file"),
        ({"separator": "x"}, "separator='x' does not apply to corpus 'python-docs'"),
        ({"corpus": "a.txt", "field": "body"}, "field='body' does not apply to corpus 'a.txt'"),
        ({"corpus": "a.jsonl", "separator": "x"}, "separator='x' does not apply"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"test": 0}, "benchmark.test=0"),
        ({"prompt_words": 0}, "benchmark.prompt_words=0"),
        ({"promptwords": 3}, "did you mean 'prompt_words'"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(BENCHMARKS, Plugin(name="text", options=options), "benchmark").splits()


def test_too_few_documents_and_too_short_ones_are_explained(tmp_path: Path) -> None:
    one = tmp_path / "one.txt"
    one.write_text("a single document of many words", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has 1 documents, which do not fill train.*another benchmark.separator"):
        Text(corpus=str(one)).splits()
    short = corpus_of(tmp_path / "short.jsonl", 50, 10)
    with pytest.raises(ConfigError, match=r"lower benchmark.prompt_words or benchmark.continuation_words"):
        Text(corpus=short).splits()


def test_one_document_a_line_is_asked_for_and_offered(tmp_path: Path) -> None:
    """100 lines in two paragraphs are two documents: a note where that suffices, and part of the error where not."""
    path = tmp_path / "lines.txt"
    lines = [" ".join(f"line{n}word{w}" for w in range(12)) for n in range(100)]
    path.write_text("\n".join([*lines[:50], "", *lines[50:]]), encoding="utf-8")
    said = r"split at blank lines, 100 lines give 2 documents; if each line is a document, set benchmark.separator=line"
    with pytest.raises(ConfigError, match=said):
        Text(corpus=str(path)).splits()
    sizes = {"prompt_words": 2, "continuation_words": 4}
    for separator in ("line", r"\n", r"\r?\n"):
        made = Text(corpus=str(path), separator=separator, **sizes).splits()
        assert sorted(texts_of(made)) == sorted(lines)
        assert made.notes == ()
    assert Text(corpus=str(path), separator="line") == Text(corpus=str(path), separator=r"\n")
    path.write_text("\n\n".join("\n".join(f"{line} {n}" for line in lines) for n in range(9)), encoding="utf-8")
    assert "900 lines give 9 documents" in Text(corpus=str(path), test=0.3, validation=0.3, **sizes).splits().notes[0]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    assert Text(corpus=str(path), **sizes).splits().notes == ()


def test_on_null_is_in_a_run_s_hash_only_where_it_refuses(tmp_path: Path) -> None:
    """The option came after the first stored runs; their ids, and those of grids that name the default, stay."""
    corpus = corpus_of(tmp_path / "c.jsonl", 9, 9)

    def resolved(**options: object) -> RunConfig:
        benchmark = {"name": "text", "corpus": corpus, **options}
        return resolve(RunConfig.model_validate({"benchmark": benchmark, "trainer": "mle", "metrics": []}))

    plain, skip, error = resolved(), resolved(on_null="skip"), resolved(on_null="error")
    assert set(plain.benchmark.options) == {entry.name for entry in fields(Text)} - {"on_null"}
    assert plain.run_id == skip.run_id != error.run_id
    assert resolve(error) == error
    assert error.benchmark.options["on_null"] == "error"


def test_the_default_corpus_gives_the_prompts_that_a_default_run_samples() -> None:
    """256 rollouts want 256 prompts; no prompt stands in the training split."""
    made = Text().splits()
    assert len(made.prompts) >= 256
    sizes = [sum(len(example.text) for example in part) for part in (made.train, made.validation, made.test)]
    assert sizes[2] / sum(sizes) == pytest.approx(0.15, abs=0.03)
    assert sizes[1] / sum(sizes) == pytest.approx(0.05, abs=0.03)
    train = "\n".join(example.text for example in made.train)
    assert not [example for example in made.prompts if example.prompt + example.text in train]


def test_tinystories(data: Callable[[str], Path]) -> None:
    """SOURCE.md: 2,316 complete stories and a last one that the byte range cut."""
    corpus = str(data("tinystories") / "tinystories_sample.txt")
    assert len(texts_of(Text(corpus=corpus, separator=r"<\|endoftext\|>").splits())) == 2317
    made = Text(corpus=corpus, separator=r"<\|endoftext\|>(?:[^<]*\Z)?").splits()
    assert len(texts_of(made)) == 2316
    assert any(text.startswith("One day, a little girl named Lily found a needle") for text in texts_of(made))
    assert not any("endoftext" in text for text in texts_of(made))
    with pytest.raises(ConfigError, match="as a regular expression it means something else"):
        Text(corpus=corpus, separator="<|endoftext|>").splits()


def test_openwebtext(data: Callable[[str], Path]) -> None:
    """SOURCE.md: 1,000 documents, 4,663,523 bytes of UTF-8 text."""
    corpus = str(data("openwebtext-1k") / "openwebtext-1000.jsonl")
    texts = texts_of(Text(corpus=corpus).splits())
    assert len(texts) == 1000
    assert sum(len(text.encode()) for text in texts) == pytest.approx(4_663_523, abs=2000)  # outer whitespace is gone


def test_wikitext_by_article(data: Callable[[str], Path]) -> None:
    """WikiText-2's validation split has 60 articles (Merity et al. 2016, table 1)."""
    corpus = str(data("wikitext-2") / "valid.txt")
    made = Text(corpus=corpus, separator=r"\n(?= = [^=\n]+ = \n)").splits()
    assert len(texts_of(made)) == 60
    assert all(text.startswith("= ") for text in texts_of(made))
