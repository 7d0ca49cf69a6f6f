"""Fault plans as people write them: YAML, checked key by key."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import yaml

from srsat_dask.errors import InputError
from srsat_dask.sandbox.faults import (
    Always,
    Body,
    Chance,
    Crowd,
    Drip,
    Effect,
    Every,
    Expired,
    Faults,
    Latency,
    Nth,
    Redirect,
    Reset,
    Rule,
    Stall,
    Status,
    Trigger,
    Truncate,
)

_BODIES = ("html", "json", "empty", "bomb")


@dataclass(frozen=True)
class _Entry:
    """A mapping of the file, and where it stands for messages."""

    where: str
    values: Mapping[object, object]

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise for a value that is not what was expected."""
        raise InputError(f"{self.where}: {key} {self.values[key]!r} is unusable: give {expected}")

    def number(self, key: str, most: float = math.inf, *, positive: bool = False) -> float:
        value = self.values[key]
        if isinstance(value, int | float) and not isinstance(value, bool):
            in_range = (value > 0 if positive else value >= 0) and value <= most
            if in_range and math.isfinite(value):
                return float(value)
        least = "more than 0" if positive else "0 or more"
        self.refuse(key, f"a number, {least if math.isinf(most) else f'0 to {most:g}'}")

    def whole(self, key: str, least: int = 0, most: float = math.inf) -> int:
        value = self.values[key]
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        span = f"{least} or more" if math.isinf(most) else f"{least} to {most:g}"
        self.refuse(key, f"a whole number, {span}")

    def only_true(self, key: str) -> bool:
        if self.values[key] is True:
            return True
        self.refuse(key, "true, or leave it out")

    def check_keys(self, known: set[str]) -> None:
        for key in self.values:
            if key not in known:
                raise InputError(
                    f"{self.where}: unknown key {key!r}: choose from {', '.join(sorted(known))}"
                )

    def one_of(self, keys: Mapping[str, object], what: str) -> str | None:
        """Return which one of the keys is given, if any."""
        given = [key for key in keys if key in self.values]
        if len(given) > 1:
            raise InputError(
                f"{self.where}: {' and '.join(given)} are two {what}s: keep one, or make two rules"
            )
        return given[0] if given else None


def read_faults(given: str | Path | Mapping[str, object] | None) -> Faults:
    """Read and check a fault plan.

    Parameters
    ----------
    given : str, Path, mapping or None
        A YAML file, or what one would hold: ``seed``, ``rules``, and ``concurrency`` and
        ``expire_token_after`` for all paths. None is no faults.

    Returns
    -------
    Faults
        Rules are named ``rule 1: status 503`` from 1 on; those for all paths ``all: ...``, and
        come first.

    Raises
    ------
    InputError
        The file cannot be read, is not YAML, or a rule is mistaken; the message names the rule.
    """
    if given is None:
        return Faults()
    where = "faults" if isinstance(given, Mapping) else str(given)
    document = given if isinstance(given, Mapping) else _load(Path(given))
    if not isinstance(document, Mapping):
        raise InputError(f"{where} holds no fault plan: expected the keys seed and rules")
    plan = _Entry(where, document)
    plan.check_keys({"seed", "rules", *_LIMITS})
    listed = document.get("rules") or []
    if not isinstance(listed, list | tuple):
        plan.refuse("rules", "a list")
    rules = [_limit(plan, key, "all", re.compile("")) for key in _LIMITS if key in document]
    for k, each in enumerate(listed, start=1):
        if not isinstance(each, Mapping):
            raise InputError(f"{where}: rule {k} is {each!r}: expected keys such as match, status")
        rules.append(_rule(_Entry(f"{where}: rule {k}", each), f"rule {k}"))
    return Faults(plan.whole("seed") if "seed" in document else 0, tuple(rules))


def _load(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not YAML{line}: correct it") from error


def _rule(entry: _Entry, name: str) -> Rule:
    entry.check_keys({"match", *_TRIGGERS, *_EFFECTS, *_LIMITS, *_BELONGS_TO})
    for option, owner in _BELONGS_TO.items():
        if option in entry.values and owner not in entry.values:
            raise InputError(f"{entry.where}: {option} goes with {owner}: add it, or drop {option}")
    match = _pattern(entry)
    trigger = entry.one_of({**_TRIGGERS, **_LIMITS}, "trigger")
    effect = entry.one_of({**_EFFECTS, **_LIMITS}, "effect")
    if effect is None:
        raise InputError(f"{entry.where} has no effect: give one of {', '.join(_EFFECTS)}")
    if effect in _LIMITS:
        return _limit(entry, effect, name, match)
    return Rule(
        f"{name}: {effect} {_shown(entry.values[effect])}",
        match,
        Always() if trigger is None else _TRIGGERS[trigger](entry),
        _EFFECTS[effect](entry),
    )


def _limit(entry: _Entry, key: str, name: str, match: re.Pattern[str]) -> Rule:
    """Make one of the rules whose trigger says what the answer is."""
    trigger, effect = _LIMITS[key](entry)
    return Rule(f"{name}: {key} {entry.values[key]}", match, trigger, effect)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pattern(entry: _Entry) -> re.Pattern[str]:
    try:
        return re.compile(cast(str, entry.values.get("match", "")))
    except (re.error, TypeError):
        entry.refuse("match", "a regular expression on the path, such as '^/ASNARO-1/'")


def _nth(entry: _Entry) -> Nth:
    numbers = entry.values["nth"]
    for number in numbers if isinstance(numbers, list | tuple) and numbers else [None]:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            entry.refuse("nth", "a list of whole numbers from 1 on, such as [3, 10]")
    return Nth(frozenset(cast(list[int], numbers)))


def _status(entry: _Entry) -> Status:
    after = entry.whole("retry_after") if "retry_after" in entry.values else None
    as_date = "retry_after_date" in entry.values and entry.only_true("retry_after_date")
    return Status(entry.whole("status", 400, 599), after, as_date)


def _body(entry: _Entry) -> Body:
    kind = entry.values["body"]
    for known in _BODIES:
        if kind == known:
            return Body(known)  # type: ignore[arg-type]
    entry.refuse("body", f"one of {', '.join(_BODIES)}")


def _redirect(entry: _Entry) -> Redirect:
    url = entry.values["redirect"]
    if isinstance(url, str) and re.fullmatch(r"(https?://|/)[!-~]*", url):
        return Redirect(url)
    entry.refuse("redirect", "an address such as http://127.0.0.1:9/, in ASCII")


def _reset(entry: _Entry) -> Reset:
    entry.only_true("reset")
    return Reset()


def _latency(entry: _Entry) -> Latency:
    jitter = entry.number("jitter") if "jitter" in entry.values else 0.0
    return Latency(entry.number("latency"), jitter)


_TRIGGERS: dict[str, Callable[[_Entry], Trigger]] = {
    "probability": lambda entry: Chance(entry.number("probability", 1)),
    "nth": _nth,
    "every": lambda entry: Every(entry.whole("every", 1)),
}

_EFFECTS: dict[str, Callable[[_Entry], Effect]] = {
    "status": _status,
    "reset": _reset,
    "stall": lambda entry: Stall(entry.number("stall")),
    "drip": lambda entry: Drip(entry.number("drip", positive=True)),
    "truncate": lambda entry: Truncate(entry.whole("truncate")),
    "body": _body,
    "redirect": _redirect,
    "latency": _latency,
}

_LIMITS: dict[str, Callable[[_Entry], tuple[Trigger, Effect]]] = {
    "concurrency": lambda entry: (Crowd(entry.whole("concurrency", 1)), Status(429, 1)),
    "expire_token_after": lambda entry: (
        Expired(entry.whole("expire_token_after")),
        Status(401),
    ),
}

_BELONGS_TO = {"retry_after": "status", "retry_after_date": "retry_after", "jitter": "latency"}
