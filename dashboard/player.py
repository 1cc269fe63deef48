"""Player of a rollout: the text while it is written and rewritten, and the likeliest actions of the policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from dashboard import widgets
from harness.analysis.replay import Frame
from harness.system.printable import printable

SECONDS = 0.7  # between two steps
MARKS = {"backspace": "⌫", "end": "■"}
LONGEST_TRACK = 300  # actions; marks of more could not be distinguished


def show(name: str, prompt: str, frames: Sequence[Frame]) -> None:
    """The rollout at one step, a slider over the steps, and buttons that move and play it.

    Opens at the first deletion, where there is one.  Played from there it begins at the beginning; after a reader has
    moved it, it goes on from the current step.
    """
    key = f"step {name}"
    playing = st.session_state.get("playing") == name
    deletions = [frame.number for frame in frames if frame.kind == "backspace"]
    if key not in st.session_state:
        st.session_state[key] = deletions[0] if deletions else len(frames)
        st.session_state["untouched"] = key

    def move(to: int) -> None:
        st.session_state[key] = min(len(frames), max(1, to))
        stop()

    def play() -> None:
        st.session_state["playing"] = None if playing else name
        if not playing and (st.session_state.get("untouched") == key or st.session_state[key] >= len(frames)):
            st.session_state[key] = 1
        st.session_state["untouched"] = None

    def stop() -> None:
        st.session_state["playing"] = st.session_state["untouched"] = None

    @st.fragment(run_every=SECONDS if playing else None)
    def part() -> None:
        still = st.session_state.get("playing") == name
        if still and playing:
            st.session_state[key] = min(len(frames), st.session_state[key] + 1)
            if st.session_state[key] >= len(frames):
                stop()
        if (st.session_state.get("playing") == name) != playing:
            st.rerun()  # the timer starts or ends
        step = int(st.session_state[key])
        left, right = st.columns([3, 2], gap="large")
        with left:
            widgets.stage(written(prompt, frames[:step]), label=f"Step {step} of {len(frames)}")
            track(frames, step)
            with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
                st.button(
                    "Pause" if playing else "Play", key="play", on_click=play, type="primary",
                    icon=":material/pause:" if playing else ":material/play_arrow:",
                )  # fmt: skip
                st.button("Back", key="back", on_click=move, args=(step - 1,), disabled=step <= 1)
                st.button("Next", key="next", on_click=move, args=(step + 1,), disabled=step >= len(frames))
                later = [number for number in deletions if number > step] or deletions
                if later:
                    st.button("Next ⌫", key="deletion", on_click=move, args=(later[0],), help="To the next deletion.")
            if len(frames) > 1:
                st.slider("Step", 1, len(frames), key=key, on_change=stop)
        with right:
            widgets.verdict(verdict(frames, step))
            odds(frames[step - 1])
            widgets.text(standing(prompt, frames, step), label="The text that stands now")

    part()


def written(prompt: str, frames: Sequence[Frame]) -> list[widgets.Span]:
    """Every action so far in order; deleted tokens struck through, the last action marked."""
    last = frames[-1].number
    spans = [widgets.Span(prompt, "prompt")] if prompt else []
    for frame in frames:
        now = " now" if frame.number == last else ""
        if frame.kind == "token":
            gone = frame.partner is not None and frame.partner <= last
            given = " given" if frame.injected else ""
            piece = frame.piece.replace("\n", "↵\n") if gone or now else frame.piece
            space = piece[: len(piece) - len(piece.lstrip(" "))] if piece.strip() else ""
            spans += [widgets.Span(space)] if space else []  # a mark on the space before a word would hide the word
            spans.append(widgets.Span(piece[len(space) :], f"token{' deleted' if gone else ''}{given}{now}"))
        else:
            css = "mark" if frame.kind == "backspace" else "ending"
            spans.append(widgets.Span(MARKS[frame.kind], f"{css}{now}"))
    if frames[-1].kind != "end":
        spans.append(widgets.Span("", "cursor"))
    return spans


def standing(prompt: str, frames: Sequence[Frame], step: int) -> list[widgets.Span]:
    """The reduced text at that step."""
    kept = "".join(frames[number - 1].piece for number in frames[step - 1].state)
    return [
        *([widgets.Span(prompt, "prompt")] if prompt else []),
        widgets.Span(kept or ("" if prompt else "(nothing yet)")),
    ]


def verdict(frames: Sequence[Frame], step: int) -> str:
    """The event at that step, in a sentence."""
    frame = frames[step - 1]
    piece = quoted(frame.piece)
    if frame.injected:
        return f"{piece} was put there by the benchmark; the model did not choose it."
    after = ""
    if frame.kind == "end":
        what = "It ends the text"
    elif frame.kind == "backspace":
        what = (
            "It deletes nothing"
            if frame.partner is None
            else f"It takes {quoted(frames[frame.partner - 1].piece)} back"
        )
    else:
        what = f"It writes {piece}"
        after = "" if frame.partner is None else f" It will take this back at step {frame.partner}."
    chance = "" if frame.log_prob is None else f"; the chance of that was {widgets.percent(frame.log_prob)}"
    return f"{what}{chance}.{after}"


def quoted(piece: str) -> str:
    """A piece of text as it stands in a sentence."""
    return f"“{printable(piece.strip(' ') or piece)}”"


def track(frames: Sequence[Frame], step: int) -> None:
    """Every action as a small mark, so that deletions are seen before they happen."""
    if len(frames) <= LONGEST_TRACK:
        kinds = ["mark" if f.kind == "backspace" else "gone" if f.deleted else "" for f in frames]
        widgets.track([f"{kind}{' now' if i == step else ''}" for i, kind in enumerate(kinds, start=1)])


def odds(frame: Frame) -> None:
    """The likeliest actions before this one with their probabilities, and the one that was taken."""
    if frame.injected or frame.log_prob is None:
        return
    shown = [(name, share, token == frame.token) for name, token, share in frame.candidates]
    if not any(taken for _, _, taken in shown):
        shown.append((frame.piece, math.exp(frame.log_prob), True))
    widgets.odds(
        [(printable(name), share, taken) for name, share, taken in shown],
        label=f"Likeliest actions at step {frame.number}" if frame.candidates else f"Its choice at step {frame.number}",
    )
