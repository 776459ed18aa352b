"""Rules for the values of a table. A rule returns the clean value, or raises an error with the reason in words."""

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from jwst_modfix.text import has_hidden


class BrokenRuleError(ValueError):
    """A value breaks a rule; the message continues the name of the field."""


Rule = Callable[[Any], Any]


def hold(
    rules: Mapping[str, Rule], block: Any, required: Iterable[str] = ()
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Hold a mapping to rules by name: clean values, and ``(name, problem)``; no name for the mapping itself."""
    if not isinstance(block, Mapping):
        return {}, [("", f"must be a mapping, got {block!r}")]
    clean, problems = {}, []
    if unknown := sorted(map(str, set(block) - set(rules))):
        problems.append(("", f"unknown key {', '.join(unknown)}; known are {', '.join(rules)}"))
    if missing := [name for name in required if name not in block]:
        problems.append(("", f"missing field {', '.join(missing)}"))
    for name in sorted(rules.keys() & block.keys(), key=list(rules).index):
        try:
            clean[name] = rules[name](block[name])
        except BrokenRuleError as error:
            problems.append((name, str(error)))
    return clean, problems


def located(place: str, problems: Iterable[tuple[str, str]], joint: str = ".") -> list[str]:
    """Write each problem behind its place."""
    return [f"{place}{joint * bool(name)}{name}: {problem}" for name, problem in problems]


def number(low: float = -math.inf, high: float = math.inf) -> Rule:
    """Accept finite numbers between two limits."""

    def rule(value: Any) -> float:
        is_number: bool = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number:
            raise BrokenRuleError(f"must be a number, got {value!r}{_number_hint(value)}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise BrokenRuleError("must be finite, got a whole number larger than any float")
        value = value.item() if hasattr(value, "item") else value  # of numpy
        if not math.isfinite(value):
            raise BrokenRuleError(f"must be finite, got {value}")
        if value < low:
            raise BrokenRuleError(f"must not be less than {low:g}, got {value}")
        if value > high:
            raise BrokenRuleError(f"must not be more than {high:g}, got {value}")
        return float(value) + 0.0  # no negative zero, which would change the hash

    return rule


def whole_number(low: int, high: int) -> Rule:
    """Accept whole numbers between two limits."""

    def rule(value: Any) -> int:
        if number(low, high)(value) != int(value):
            raise BrokenRuleError(f"must be a whole number, got {value}")
        return int(value)

    return rule


def _number_hint(value: Any) -> str:
    """Explain how YAML interprets what the user probably meant."""
    try:
        return f"; YAML reads this as text, write {float(value)!r} without quotes" if isinstance(value, str) else ""
    except ValueError:
        return ""


def text(pattern: str | None = None, *, example: str = "", lines: bool = False, empty: bool = False) -> Rule:
    """Accept text without control characters; line breaks and tabs with ``lines``."""

    def rule(value: Any) -> str:
        if not isinstance(value, str):
            raise BrokenRuleError(f"must be text, got {value!r}" + (f"; such as {example}" if example else ""))
        if has_hidden(value, "\n\t" if lines else ""):
            raise BrokenRuleError(f"must hold no control characters, got {value!a}")
        if not (value or empty):
            raise BrokenRuleError("must not be empty")
        if pattern and not re.fullmatch(pattern, value):
            raise BrokenRuleError(f"must match {pattern}, got {value!r}")
        return str(value)

    return rule


def one_of(choices: tuple[str, ...]) -> Rule:
    """Accept a text of a list."""

    def rule(value: Any) -> str:
        if not isinstance(value, str):
            hint = f"; put it in quotes: '{value}'" if str(value) in choices else ""
            raise BrokenRuleError(f"must be text, got {value!r}{hint}")
        if value not in choices:
            raise BrokenRuleError(f"must be one of {', '.join(choices)}, got {value!r}")
        return value

    return rule


def list_of(rule: Rule, *, length: int | None = None, single: bool = False) -> Rule:
    """Accept a list, of a fixed length or not empty; with ``single`` a value alone is a list of one."""

    def check(value: Any) -> tuple[Any, ...]:
        if single and isinstance(value, str):
            return (rule(value),)
        if not isinstance(value, list | tuple):
            raise BrokenRuleError(f"must be {'text or ' if single else ''}a list, got {value!r}")
        if length is not None and len(value) != length:
            raise BrokenRuleError(f"must have {length} entries, got {len(value)}")
        clean = []
        for place, item in enumerate(value, 1):
            try:
                clean.append(rule(item))
            except BrokenRuleError as error:
                raise BrokenRuleError(f"entry {place} {error}") from None
        return tuple(clean)

    return check


def mapping(rules: Mapping[str, Rule], required: tuple[str, ...]) -> Rule:
    """Accept a mapping with these keys."""

    def rule(value: Any) -> dict[str, Any]:
        clean, problems = hold(rules, value, required)
        for name, problem in problems:
            raise BrokenRuleError(f"entry {name} {problem}" if name else problem)
        return clean

    return rule


def plain_data(value: Any) -> Any:
    """Accept nested mappings and lists of finite numbers and clean text."""
    if not isinstance(value, Mapping):
        raise BrokenRuleError(f"must be a mapping, got {value!r}")
    for leaf in _leaves(value):
        if not isinstance(leaf, bool):
            (text(lines=True, empty=True) if isinstance(leaf, str) else number())(leaf)
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def context_number(context: str | None) -> int | None:
    """Parse a CRDS context such as ``jwst_1130.pmap`` to its number, by which contexts are compared; else None."""
    found = re.fullmatch(r"(?:.*/)?jwst_(\d+)\.pmap", (context or "").strip())
    return int(found[1]) if found else None
