"""Rules of a table's values: the schema of its file, with messages for people."""

import datetime
import functools
import math
import re
import sys
from collections.abc import Mapping
from importlib import resources
from numbers import Integral, Real
from typing import Any

import yaml

from jwst_modfix.text import has_hidden

SCHEMA_VERSION = "2.0.0"  # written where a table needs it; others are written as 1.0.0, which older versions read
DATA: Mapping[str, Any] = {}
"""Rule of nested plain values: they are finite, and without control characters."""
_KINDS = (Mapping, "object"), (list | tuple, "array"), (bool, "boolean"), (str, "string"), (Integral, "integer")
_SCHEMAS = resources.files("jwst_modfix.table") / "schemas"


def get_resource_mappings() -> list[Any]:
    """Map the identifiers of the schemas of this package to files, for asdf."""
    from asdf.resource import DirectoryResourceMapping  # late: this module is imported at each start of asdf

    return [DirectoryResourceMapping(_SCHEMAS, "asdf://jwst-modfix.org/schemas/", recursive=True)]


@functools.cache
def schema_of(*path: str) -> dict[str, Any]:
    """Find a part of the schema by fields; ``items`` are the entries of a list."""
    # In addition to the keywords of JSON schema: example; known (names); meant (the right text for one that is wrong).
    if path:
        parent = schema_of(*path[:-1])
        return dict(parent["items"] if path[-1] == "items" else parent["properties"][path[-1]])
    file = _SCHEMAS / f"moduleoffset-{SCHEMA_VERSION}.yaml"
    schema: dict[str, Any] = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return schema


def check(value: Any, rule: Mapping[str, Any] | None, place: str, problems: list[str]) -> Any:
    """Check and clean a value by a part of the schema; add what is wrong to problems."""
    if rule is None:  # checked elsewhere
        return value
    kind = rule.get("type") or next((kind for cls, kind in _KINDS if isinstance(value, cls)), "number")
    if kind == "object":
        return _check_mapping(value, rule, place, problems)
    if "array" in kind:
        is_single = "string" in kind  # a text alone is a list of one
        value = (value,) if is_single and isinstance(value, str) else value
        if not isinstance(value, list | tuple):
            problems.append(f"{place}: must be {'text or ' * is_single}a list, got {value!r}")
            return ()
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", math.inf):
            expected = f"{rule['maxItems']} entries" if "maxItems" in rule else "at least 1 entry"
            problems.append(f"{place}: must have {expected}, got {len(value)}")
        of_items = rule.get("items", DATA)
        checked = [check(item, of_items, f"{place} entry {n}", problems) for n, item in enumerate(value, 1)]
        return tuple(checked)
    is_number = kind in ("number", "integer")
    if problem := _problem_of_number(value, rule) if is_number else _problem_of_text(value, rule, kind):
        problems.append(f"{place}: {problem}")
        return value
    if kind == "number":
        return float(value) + 0.0  # no negative zero, which would change the hash
    return int(value) if kind == "integer" else value


def _check_mapping(value: Any, rule: Mapping[str, Any], place: str, problems: list[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    if not isinstance(value, Mapping):
        problems.append(f"{place}: must be a mapping, got {value!r}")
        return clean
    known, required = rule.get("properties", {}), rule.get("required", ())
    here = place or "top level"
    if not value and (required or rule.get("minProperties")):
        problems.append(f"{here}: must have at least 1 entry, got 0")
    joint = ", field " if place.endswith(")") else "."  # rows end in their key in brackets
    for name in value:
        if not known:
            check(name, schema_of("meta", "date"), place, problems)  # any text
        elif name not in known:
            problems.append(f"{here}: unknown key {name}; known are {', '.join(known)}")
            continue
        clean[name] = check(value[name], known.get(name, DATA), f"{place}{joint * bool(place)}{name}", problems)
    problems += [f"{here}: missing field {name}" for name in required if name not in value]
    for name, (other,) in rule.get("dependencies", {}).items():
        if name in value and other not in value:
            problems.append(f"{here}: has {name}, but no {other}")
    return clean


def _problem_of_text(value: Any, rule: Mapping[str, Any], kind: str) -> str | None:
    if kind == "boolean":
        return None
    choices, pattern = rule.get("enum", ()), rule.get("pattern")
    if not isinstance(value, str):
        hint = f"; put it in quotes: '{value}'" if str(value) in choices else ""
        return f"must be text, got {value!r}{hint}" + (f"; such as {rule['example']}" if "example" in rule else "")
    if choices and value not in choices:
        meant = rule.get("meant", {}).get(value)
        return f"must be one of {', '.join(choices)}, got {value!r}" + (f"; write {meant}" if meant else "")
    if not value.isprintable() and has_hidden(value, "" if pattern else "\n\t"):
        return f"must hold no control characters, got {value!a}"
    if not value and (pattern or "minLength" in rule):
        return "must not be empty"
    if pattern and not re.search(pattern, value, re.DOTALL):
        return f"must match {pattern.strip('^$')}, got {value!r}"
    if rule.get("format") == "date":
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError as error:
            return f"must be a date such as {rule['example']}, got {value!r}: {error}"
    return None


def _problem_of_number(value: Any, rule: Mapping[str, Any]) -> str | None:
    if not isinstance(value, Real) or isinstance(value, bool):  # numbers of numpy are real, too
        # Word processors write another minus or dash; a comma may be a decimal one.
        plain = value.translate(str.maketrans("\u2212\u2013,", "--.")) if isinstance(value, str) else ""
        reading = "YAML reads this as text, " if plain == value else ""
        try:
            number = float(plain)
        except ValueError:
            number = math.nan
        hint = f"; {reading}write {number!r} without quotes" if math.isfinite(number) else ""
        return f"must be a number, got {value!r}{hint}"
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "must be finite, got a whole number larger than any float"
    if not math.isfinite(value):
        return f"must be finite, got {value}"
    low, high = rule.get("minimum", -math.inf), rule.get("maximum", math.inf)
    if value < low:
        return f"must not be less than {low:g}, got {value}"
    if value > high:
        return f"must not be more than {high:g}, got {value}"
    if value == low and rule.get("exclusiveMinimum"):
        return f"must be greater than {low:g}, got {value}"
    if rule.get("type") == "integer" and value != int(value):
        return f"must be a whole number, got {value}"
    return None


def context_number(context: str | None) -> int | None:
    """Parse a CRDS context such as ``jwst_1130.pmap`` to its number, else None."""
    found = re.fullmatch(r"(?:.*/)?jwst_(\d+)\.pmap", (context or "").strip())
    return int(found[1]) if found else None
