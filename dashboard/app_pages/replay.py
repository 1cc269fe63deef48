"""One rollout as it was written: token by token, mistakes struck through when the model takes them back."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import look, queries
from dashboard.glossary import WORDS
from harness.printable import printable
from harness.replaying import Frame

st.title("Replay")
SECONDS = 0.6  # between two steps of a replay that plays


def page() -> None:
    """Choose a run and one of its texts, then watch."""
    members = queries.finished(st.session_state.get("grid"))
    if not members:
        look.notice("There are no finished runs here yet, so there is nothing to replay.")
        return
    look.says(
        "The model writes one token at a time. When it finds that the last token was a mistake, it may delete it with "
        "<backspace> and write another. Struck through is what it deleted."
    )
    names = queries.run_names(members)
    ids = sorted(names, key=lambda run: "<backspace>" not in names[run])
    run = st.selectbox("Run", ids, key="run", bind="query-params", format_func=lambda one: f"{names[one]} · {one}")
    rollouts = queries.replays(run)
    if not rollouts:
        look.notice("This run has no rollouts.")
        return
    best = max(range(len(rollouts)), key=lambda i: sum(one.deleted for one in rollouts[i].frames))
    number = st.number_input(
        "Text", 0, len(rollouts) - 1, value=best, key="sample", bind="query-params",
        help="The number of the rollout. It starts at the one with the most deletions.",
    )  # fmt: skip
    chosen = rollouts[int(number)]
    if not chosen.frames:
        look.notice("This rollout has no actions.")
        return
    watch(run, int(number), chosen.prompt, chosen.frames)
    positions([one.frames for one in rollouts])


def watch(run: str, number: int, prompt: str, frames: Sequence[Frame]) -> None:
    """The sentence at one step, a slider over the steps, and a button that plays them."""
    key = f"step-{run}-{number}"
    playing = st.session_state.get("playing") == key

    @st.fragment(run_every=SECONDS if playing else None)
    def player() -> None:
        if st.session_state.get("playing") == key:
            after = st.session_state.get(key, len(frames)) + 1
            st.session_state[key] = min(after, len(frames))
            if after >= len(frames):
                st.session_state["playing"] = None
                st.rerun()
        left, right = st.columns([1, 6], vertical_alignment="bottom")
        if left.button(
            "Stop" if playing else "Play", key="play", icon=":material/stop:" if playing else ":material/play_arrow:"
        ):
            st.session_state["playing"] = None if playing else key
            if not playing and st.session_state.get(key, len(frames)) >= len(frames):
                st.session_state[key] = 1
            st.rerun()
        st.session_state.setdefault(key, len(frames))
        step = right.slider("Step", 1, max(2, len(frames)), key=key) if len(frames) > 1 else 1
        look.text(written(prompt, frames[:step]), label="What happened", live=True)
        look.text(standing(prompt, frames, step), label="What stands")
        candidates(frames[min(step, len(frames)) - 1])

    player()


def written(prompt: str, frames: Sequence[Frame]) -> list[look.Span]:
    """Every action so far in order; deleted tokens struck through, the last action marked."""
    last = frames[-1].number
    spans = [look.Span(prompt, "prompt")]
    for frame in frames:
        now = " now" if frame.number == last else ""
        if frame.kind == "token":
            gone = frame.deleted and frame.partner is not None and frame.partner <= last
            given = " given" if frame.injected else ""
            spans.append(look.Span(frame.piece, f"{'deleted' if gone else 'kept'}{given}{now}"))
        else:
            spans.append(look.Span("⌫" if frame.kind == "backspace" else "■", f"mark{now}"))
    return spans


def standing(prompt: str, frames: Sequence[Frame], step: int) -> list[look.Span]:
    """The reduced text at that step."""
    at = frames[step - 1]
    pieces = "".join(frames[number - 1].piece for number in at.state)
    ended = at.kind == "end"
    return [
        look.Span(prompt, "prompt"),
        look.Span(pieces),
        look.Span("" if ended else "\u2009", "" if ended else "cursor"),
    ]


def candidates(frame: Frame) -> None:
    """How likely the action was, and what else the model had in mind."""
    chance = (
        "it was given, not chosen" if frame.log_prob is None else f"the model gave it {look.percent(frame.log_prob)}"
    )
    look.says(f"Action {frame.number}: {frame.piece!r}; {chance}.")
    if not frame.candidates:
        return
    shown = pd.DataFrame(
        [{"action": printable(piece), "probability": probability} for piece, probability in frame.candidates]
    )
    drawn = (
        alt.Chart(shown)
        .mark_bar(color=look.COLOURS[0])
        .encode(
            x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            y=alt.Y("action:N", sort=None, title=None),
        )
        .properties(height=30 * len(shown) + 30)
    )
    listed = ", ".join(f"{row['action']!r} {row['probability']:.0%}" for row in shown.to_dict("records"))
    look.chart(
        drawn, alt_text=f"likeliest actions: {listed}", sentence="What the model held likeliest before this action."
    )


def positions(rollouts: Sequence[Sequence[Frame]]) -> None:
    """How often the model deletes, by how far into the rollout it is."""
    st.subheader("When does it delete?", help=WORDS["backspace"])
    own = [(frame.number, frame.kind == "backspace") for one in rollouts for frame in one if not frame.injected]
    frame = pd.DataFrame(own, columns=["position", "deletes"])
    if frame.empty or not frame["deletes"].any():
        look.notice("This run never deleted anything.")
        return
    width = max(1, int(frame["position"].max()) // 30)
    frame["position"] = (frame["position"] - 1) // width * width + 1
    by = frame.groupby("position")["deletes"].agg(["mean", "size"]).reset_index()
    by = by[by["size"] >= 10].rename(columns={"mean": "share", "size": "actions"})
    drawn = (
        alt.Chart(by)
        .mark_line(point=True, color=look.COLOURS[0])
        .encode(
            x=alt.X("position:Q", title="action number"),
            y=alt.Y("share:Q", title="share that is <backspace>", axis=alt.Axis(format="%")),
            tooltip=["position:Q", alt.Tooltip("share:Q", format=".2%"), "actions:Q"],
        )
    )
    sentence = (
        f"Over {len(rollouts)} rollouts, {sum(deletes for _, deletes in own) / len(own):.2%} of the model's own actions "
        "delete a token; the line has places with at least ten actions."
    )
    look.chart(drawn, alt_text=sentence, sentence=sentence)
    look.downloads(by, "backspace-by-position")


page()
