"""10,000 generated and 40,000 mutated grid files: every one is read, or refused by a message that says where."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.grids.grid import load_grid

GRIDS = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "grids").glob("*.yaml"))
KEYS = """
    question name base grid zip include exclude seeds controls benchmark trainer model training actions sampling
    metrics options steps tokens seconds rows lr schedule warmup clip scope backspace noise_rate noise_kind noise_run
    layers width heads tokenizer vocab_size base_steps context dtype rollouts temperature top_k top_p length
    divergence alpha gamma value buffer_size training.steps actions.backspace trainer.alpha model.name seed corpus x 0
""".split()  # noqa: SIM905
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2**40,
    0.5,
    1e-3,
    -0.0,
    1e308,
    "",
    "mle",
    "bc",
    "sequence_match",
    "language",
    "text",
    "gpt2",
    "characters",
    "js",
    "chi2_mixture",
    "yes",
    "null",
    "1e-3",
    "1,2",
    "a b",
    "é\u2028",
    "\ud83d\ude00",
    "~",
    "*a",
    "&a x",
    "!!int 3",
    "<<",
    "{",
    "[",
    "2020-01-01",
    "1_000",
    "0x10",
    ".inf",
    ".nan",
    "'",
    '"',
    "#",
    "name",
    "../x",
    "x" * 300,
)
PIECES = (
    b":",
    b"-",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\n",
    b"\t",
    b" ",
    b"  ",
    b"#",
    b"&a",
    b"*a",
    b"!!python/x",
    b"'",
    b'"',
    b"|",
    b">",
    b"%",
    b"@",
    b"\x00",
    b"\xff",
    b"\xc3",
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"0",
    b"<<: ",
    b"seeds: ",
    b"base: ",
    b"grid: ",
    b"- ",
    b"? ",
    b"...",
    b"---\n",
)


def generated(rng: random.Random, depth: int = 0) -> Any:
    """A mapping, a list or a scalar out of what grid files are made of, put together at random."""
    kind = rng.random()
    if depth == 0 or (kind < 0.45 and depth < 4):
        return {rng.choice(KEYS): generated(rng, depth + 1) for _ in range(rng.randrange(1, 6))}
    if kind < 0.6 and depth < 5:
        return [generated(rng, depth + 1) for _ in range(rng.randrange(4))]
    return rng.choice(VALUES)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """One to four edits: bytes flipped, cut, doubled or replaced, lines moved, deleted, repeated or indented."""
    for _ in range(rng.randrange(1, 5)):
        edit = rng.randrange(8)
        at = rng.randrange(len(content) + 1)
        if edit == 0 and content:
            at = rng.randrange(len(content))
            content = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        elif edit == 1:
            content = content[:at] + content[at + rng.randrange(12) :]
        elif edit in (2, 3):
            content = content[:at] + rng.choice(PIECES) + content[at:]
        else:
            lines = content.splitlines(keepends=True) or [b""]
            here = rng.randrange(len(lines))
            if edit == 4:
                lines.insert(rng.randrange(len(lines)), lines.pop(here))
            elif edit == 5:
                del lines[here]
            elif edit == 6:
                lines.insert(here, lines[here])
            else:
                lines[here] = b" " * rng.randrange(5) + lines[here].lstrip()
            content = b"".join(lines)
    return content


def outcome(path: Path, content: bytes) -> str:
    """`read`, or the message; whatever else is raised is the test's failure."""
    path.write_bytes(content)
    try:
        grid = load_grid(str(path))
        if len(grid.seeds) * 50 < 5000:  # a number of seeds in the millions is legal, and only takes long
            grid.expand()
    except HarnessError as error:
        return str(error)
    return "read"


def names_the_place(message: str, content: bytes) -> bool:
    """True if the message has a line, or a key of the file, or says that the file as a whole is no grid."""
    if re.search(r"\.yaml:\d+", message):
        return True
    if re.search(r"\.yaml: base: no benchmark is named", message):  # what is missing stands nowhere
        return True
    named = re.findall(r"[A-Za-z_][\w.]*(?:\[\d+\])?", message)
    text = content.decode(errors="replace")
    return (
        any(word.split(".")[-1].split("[")[0] in text for word in named) or "not UTF-8" in message or not text.strip()
    )


@pytest.mark.prove("configuration files, generated and mutated", cases=2000, seconds=15)
@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_generated_files(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for trial in range(2000):
        found = generated(rng)
        if rng.random() < 0.7:
            found = {"base": {"benchmark": "language", "trainer": "mle"}, **found}
        content = json.dumps(found, ensure_ascii=rng.random() < 0.5).encode(errors="replace")
        message = outcome(tmp_path / f"g{seed}.yaml", content)
        assert message == "read" or names_the_place(message, content), (trial, content, message)


@pytest.mark.prove("configuration files, generated and mutated", cases=5000, seconds=30)
@pytest.mark.parametrize("seed", range(8))
def test_forty_thousand_mutated_files(tmp_path: Path, seed: int) -> None:
    rng = random.Random(1000 + seed)
    originals = [path.read_bytes() for path in GRIDS]
    for trial in range(5000):
        content = mutated(rng, rng.choice(originals))
        message = outcome(tmp_path / f"m{seed}.yaml", content)
        assert message == "read" or names_the_place(message, content), (trial, content, message)
