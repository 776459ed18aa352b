"""Damage for the fuzz tests: mutations with a fixed seed, and a limit on the processor time that one case may take."""

import contextlib
import copy
import signal

HOSTILE = (
    "", " ", "\n", "x\n", "\x1b[31m", "\x00", "\u2028", "../../x", "/etc/passwd", "x" * 5000, "nan", "1e400", "072",
    "1:30", "yes", "null", "~", "<<", "{{7*7}}", "%s%n", "ümlaut", "\U0001f52d", "a: b", "# c", "- d",
)  # fmt: skip
VALUES = (*HOSTILE, None, True, False, 0, -1, 1, 2**63, 10**400, -1e308, 1e-320, float("nan"), float("inf"), [], {},
          [[]], {"a": {}}, [1, 2], [None])  # fmt: skip


@contextlib.contextmanager
def time_limit(seconds):
    """Interrupt what takes more processor time, or two minutes in all: a hang is a failure of the test."""

    def stop(_number, _frame):
        raise AssertionError(f"took more than {seconds} s")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 120)}
    previous = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, (number, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, previous[number])


def pick(rng, choices):
    """One of the choices, whatever their types."""
    return choices[rng.integers(len(choices))]


def damage_bytes(rng, content):
    """Replace, insert, delete or double some bytes, or cut the end off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(content) + 1))
        stop = min(len(content), start + int(rng.integers(1, 9)))
        kind = rng.integers(6)
        if kind == 0:
            content[start:stop] = rng.integers(0, 256, stop - start, dtype="u1").tobytes()
        elif kind == 1:
            content[start:start] = rng.integers(0, 256, 3, dtype="u1").tobytes()
        elif kind == 2:
            del content[start:stop]
        elif kind == 3:
            content[start:start] = content[start : start + 60]
        elif kind == 4:
            content[start : start + 1] = pick(
                rng, (b"'", b'"', b":", b"{", b"[", b"-", b"&a ", b"*a", b"!", b"\n", b"|")
            )
        elif rng.random() < 0.3:
            del content[start:]
    return bytes(content)


def places(tree, path=()):
    """Every path in a tree of dicts and lists, the root's left out."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def damage_tree(rng, tree):
    """Change, drop, rename, add or move one to three places; say which keys were misspelt."""
    tree, misspelt = copy.deepcopy(tree), []
    for _ in range(rng.integers(1, 4)):
        found = list(places(tree))
        if not found:
            break
        *parents, key = pick(rng, found)
        node = tree
        for name in parents:
            node = node[name]
        kind = rng.integers(5)
        if kind == 0 or isinstance(node, list):
            node[key] = pick(rng, VALUES)
        elif kind == 1:
            del node[key]
        elif kind == 2:
            new = misspell(rng, key)
            node[new] = node.pop(key)
            misspelt += [(*parents, new)] if new != key else []
        elif kind == 3:
            node[pick(rng, HOSTILE)] = pick(rng, VALUES)
        else:
            node[key] = copy.deepcopy(tree)
    return tree, misspelt


def misspell(rng, word):
    """Leave out, double or swap a letter, or change its case."""
    place = int(rng.integers(len(word)))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    return (
        pick(rng, (before + after, before + 2 * letter + after, before + letter.swapcase() + after, word + " ")) or "_"
    )
