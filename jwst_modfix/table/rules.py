"""Rules for the values of a table, as data, and the check of a value."""

import datetime
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from jwst_modfix.text import has_hidden


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value must be. The JSON schema of the file states the same rules."""

    kind: str  # number, whole number, text, date, list, mapping, data (nested plain values) or any
    low: float = -math.inf  # of a number
    high: float = math.inf
    may_be_zero: bool = True
    choices: tuple[str, ...] = ()  # of a text
    meant: Mapping[str, str] = field(default_factory=dict)  # choices that are written in another way elsewhere
    pattern: str = ".*"  # of the whole text
    example: str = ""
    has_lines: bool = False  # line breaks and tabs are allowed in a text
    may_be_empty: bool = False
    items: "Rule | None" = None  # of each item of a list, or of each value of a mapping without keys
    length: int | None = None  # of a list
    single: bool = False  # a text alone is a list of one
    keys: Mapping[str, "Rule"] = field(default_factory=dict)  # of a mapping
    required: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)  # keys that make another one necessary


TEXT = Rule(kind="text")
FREE_TEXT = Rule(kind="text", has_lines=True)
ANY_TEXT = Rule(kind="text", has_lines=True, may_be_empty=True)
DATA = Rule(kind="data")


def check(value: Any, rule: Rule, place: str, problems: list[str]) -> Any:
    """Check and clean a value by a rule; add a violation to the problems."""
    if rule.kind == "data":
        rule = _rule_of_data(value)
    if rule.kind == "mapping":
        return _check_mapping(value, rule, place, problems)
    if rule.kind == "list":
        value = (value,) if rule.single and isinstance(value, str) else value
        if not isinstance(value, list | tuple):
            problems.append(f"{place}: must be {'text or ' * rule.single}a list, got {value!r}")
            return ()
        if len(value) != rule.length and (rule.length or not (value or rule.may_be_empty)):
            expected = f"{rule.length} entries" if rule.length else "at least 1 entry"
            problems.append(f"{place}: must have {expected}, got {len(value)}")
        clean = []
        for number, item in enumerate(value, 1):
            clean.append(check(item, rule.items or DATA, f"{place} entry {number}", problems))
        return tuple(clean)
    if problem := _problem(value, rule):
        problems.append(f"{place}: {problem}")
        return value
    if rule.kind == "number":
        return float(value) + 0.0  # no negative zero, which would change the hash
    return int(value) if rule.kind == "whole number" else value


def _check_mapping(value: Any, rule: Rule, place: str, problems: list[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    if not isinstance(value, Mapping):
        problems.append(f"{place}: must be a mapping, got {value!r}")
        return clean
    if not (value or rule.may_be_empty):
        problems.append(f"{place or 'top level'}: must have at least 1 entry, got 0")
    joint = ", field " if place.endswith(")") else "."  # rows end in their key in brackets
    for name in value:
        if not rule.keys:
            check(name, ANY_TEXT, place, problems)
        elif name not in rule.keys:
            problems.append(f"{place or 'top level'}: unknown key {name}; known are {', '.join(rule.keys)}")
            continue
        item_rule = rule.keys.get(name) or rule.items or DATA
        clean[name] = check(value[name], item_rule, f"{place}{joint * bool(place)}{name}", problems)
    for name in rule.required:
        if name not in value:
            problems.append(f"{place or 'top level'}: missing field {name}")  # noqa: PERF401 - as the next
    for name, other in rule.needs.items():
        if name in value and other not in value:
            problems.append(f"{place or 'top level'}: has {name}, but no {other}")
    return clean


def _problem(value: Any, rule: Rule) -> str | None:
    """Find what is wrong with a text or a number."""
    if rule.kind == "any":
        return None
    if rule.kind in ("number", "whole number"):
        return _problem_of_number(value, rule)
    if not isinstance(value, str):
        hint = f"; put it in quotes: '{value}'" if str(value) in rule.choices else ""
        return f"must be text, got {value!r}{hint}" + (f"; such as {rule.example}" if rule.example else "")
    if rule.choices and value not in rule.choices:
        hint = f"; write {rule.meant[value]}" if value in rule.meant else ""
        return f"must be one of {', '.join(rule.choices)}, got {value!r}{hint}"
    if not value.isprintable() and has_hidden(value, "\n\t" if rule.has_lines else ""):
        return f"must hold no control characters, got {value!a}"
    if not (value or rule.may_be_empty):
        return "must not be empty"
    if not re.fullmatch(rule.pattern, value, re.DOTALL):
        return f"must match {rule.pattern}, got {value!r}"
    if rule.kind == "date":
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError as error:
            return f"must be a date such as {rule.example}, got {value!r}: {error}"
    return None


def _problem_of_number(value: Any, rule: Rule) -> str | None:
    is_number: bool = isinstance(value, Real) and not isinstance(value, bool)  # those of numpy are, too
    if not is_number:
        return f"must be a number, got {value!r}{_hint_of_number(value)}"
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "must be finite, got a whole number larger than any float"
    if not math.isfinite(value):
        return f"must be finite, got {value}"
    if value < rule.low:
        return f"must not be less than {rule.low:g}, got {value}"
    if value > rule.high:
        return f"must not be more than {rule.high:g}, got {value}"
    if not (value or rule.may_be_zero):
        return f"must be greater than 0, got {value}"
    if rule.kind == "whole number" and value != int(value):
        return f"must be a whole number, got {value}"
    return None


_TYPED = str.maketrans("\u2212\u2013,", "--.")  # minus and dash of a word processor, decimal comma


def _hint_of_number(value: Any) -> str:
    """Explain how YAML interprets what the user probably meant."""
    plain = value.translate(_TYPED) if isinstance(value, str) else ""
    try:
        number = float(plain)
    except ValueError:
        return ""
    reading = "YAML reads this as text, " if plain == value else ""
    return f"; {reading}write {number!r} without quotes" if math.isfinite(number) else ""


def _rule_of_data(value: Any) -> Rule:
    """Choose the rule of one value of nested plain data."""
    if isinstance(value, Mapping):
        return Rule(kind="mapping", may_be_empty=True)
    if isinstance(value, list | tuple):
        return Rule(kind="list", may_be_empty=True)
    if isinstance(value, bool | str):
        return Rule(kind="any") if isinstance(value, bool) else ANY_TEXT
    return Rule(kind="whole number" if isinstance(value, Integral) else "number")


def context_number(context: str | None) -> int | None:
    """Parse a CRDS context such as ``jwst_1130.pmap`` to its number, else None."""
    found = re.fullmatch(r"(?:.*/)?jwst_(\d+)\.pmap", (context or "").strip())
    return int(found[1]) if found else None
