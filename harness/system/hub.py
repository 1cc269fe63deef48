"""Names of models, judged before torch is loaded: a directory, a copy of a Hub model here, or one within reach."""

from __future__ import annotations

import os
import re
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from harness.errors import EnvironmentProblem, did_you_mean
from harness.system.model_files import local

ENDPOINT = "https://huggingface.co"
SECONDS = 1.0  # for a first sign of the Hub
CONFIG = "config.json"
WANTED = f"give a directory with {CONFIG}, weights and tokenizer"
_FILES = {
    "configuration": (CONFIG,),
    "weights": ("*.safetensors", "*.bin", "*.index.json"),
    "tokenizer": ("tokenizer*", "*.model", "vocab*", "merges.txt", "tekken.json", "special_tokens_map.json"),
}
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MOST = 200  # entries of a folder that are looked at for names


def check_model(name: str, where: str, no: str = "") -> None:
    """Refuse a name under which no model can be loaded here; only where the Hub is needed the network is asked.

    `where` begins the message, and `no` says what else the name is not.

    Raises:
        EnvironmentProblem: no such directory, one without a model, or the id of a Hub model that is neither kept here
            nor within reach.
    """
    place = local(name)
    if place is not None and (place / CONFIG).is_file():
        return
    wanted = WANTED
    if place is not None:
        near = _near(name, directories(place))
        raise EnvironmentProblem(f"{where} cannot be loaded: the directory has no {CONFIG}; {wanted}{near}")
    problem = f"{no}no such directory"
    if _ID.fullmatch(name) and not name.startswith("."):
        why = None if name in kept() else unreachable()
        if why is None:
            return
        problem += f", no copy of a Hub model of this name is here, and {why}"
    near = _near(name, {*directories(Path(os.path.expanduser(name)).parent), *kept()})
    wanted += f", or OWNER/NAME of the Hub while online{near}"
    raise EnvironmentProblem(f"{where} cannot be loaded: {problem}; {wanted}")


def check_files(place: Path, where: str) -> None:
    """Refuse a directory of a model in which its weights or its tokenizer are missing; `where` begins the message.

    Raises:
        EnvironmentProblem: it has no configuration, weights or tokenizer.
    """
    for kind, patterns in _FILES.items():
        if not any(next(place.glob(pattern), None) for pattern in patterns):
            names = " or ".join(patterns)
            what = f"no {CONFIG}" if patterns == (CONFIG,) else f"no {kind}: there is no {names} in it"
            raise EnvironmentProblem(f"{where} cannot be loaded: the directory has {what}; {WANTED}")


def directories(folder: Path) -> list[str]:
    """The model directories in a folder, and in the folders there, as they are written on a command line."""
    found = []
    with suppress(OSError):
        for entry in sorted(folder.iterdir())[:_MOST]:
            if entry.is_dir() and not entry.name.startswith("."):
                inner = [] if (entry / CONFIG).is_file() else sorted(entry.iterdir())[:_MOST]
                found += [str(one) for one in (entry, *inner) if (one / CONFIG).is_file()]
    return found


def kept() -> list[str]:
    """Ids of the models that the Hub's cache on this machine holds."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub"))
    try:
        entries = sorted(cache.expanduser().glob("models--*"))
    except (OSError, RuntimeError):
        return []
    loaded = (entry.name.removeprefix("models--") for entry in entries if any(entry.glob("snapshots/*")))
    return [name.replace("--", "/") for name in loaded]


def unreachable() -> str | None:
    """The reason why the Hub cannot be asked; None where it, or the proxy before it, answers within `SECONDS`."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{variable} forbids to ask the Hub"
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    parts = urllib.parse.urlsplit(endpoint)
    proxies = {} if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies()
    asked = urllib.parse.urlsplit(proxies.get(parts.scheme) or proxies.get("all") or endpoint)
    port = asked.port or (80 if asked.scheme == "http" else 443)
    answers: SimpleQueue[bool] = SimpleQueue()

    def ask() -> None:
        try:
            socket.create_connection((asked.hostname or "", port), timeout=SECONDS).close()
        except OSError:
            answers.put(False)
        else:
            answers.put(True)

    # a thread, since looking up a name has no time limit of its own
    threading.Thread(target=ask, daemon=True).start()
    try:
        reached = answers.get(timeout=SECONDS)
    except Empty:
        reached = False
    return None if reached else f"{asked.hostname} cannot be reached"


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f" ({did_you_mean(name, names)})" if names else ""
