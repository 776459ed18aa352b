"""
Draw the parts of the package, their files with numbers of lines, and which part imports which, from the code.

Run as ``python docs/figures/architecture.py PICTURE.svg``; the build of the documentation calls `draw`. A part is
drawn above all parts that it imports. An arrow is left out if it follows from others: if cli imports steps and steps
imports table, the arrow from cli to table is not drawn. Imports that point upward are not drawn (see `UPWARD`).
"""

import ast
import functools
import itertools
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as MplPath

PACKAGE = Path(__file__).resolve().parents[2] / "jwst_modfix"
WIDTH = 11.0  # inch
MARGIN, GAP, ROW_GAP = 0.1, 0.25, 0.5
LINE, CHARACTER, TITLE = 0.165, 0.071, 0.26  # inch: height of a line, width of a character, height of a title
UPWARD = ("table", "apply")  # the methods OffsetTable.factor and .apply, which import it when they are called
FEW = 7  # lines of file names in one column
ROUNDS = 8  # of sorting the rows
COLOURS = {"steps": "#fde8d0", "cli": "#fde8d0", "report": "#fde8d0", "simulate": "#e9e3f5"}
ALGORITHMS = dict.fromkeys(["apply", "fitting", "photometry", "derivation"], "#dcebf7")
COLOURS |= ALGORITHMS | {"table": "#dff0dc", "exposure": "#dff0dc"}


def read_parts():
    """Number of lines of each file, by part: a folder of the package, or a file beside the folders."""
    parts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").count("\n")
        if path.parent != PACKAGE or path.name != "__init__.py":
            parts.setdefault(part_of(path), {})[path.stem] = lines
    return parts


def part_of(path):
    """Part that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def read_imports(parts):
    """Parts that each part imports, at once or on first use."""
    found = {part: set() for part in parts}
    for path in PACKAGE.rglob("*.py"):
        if part_of(path) not in parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if names == ["jwst_modfix"] else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            others = {name.split(".")[1] for name in names if name and name.startswith("jwst_modfix.")}
            found[part_of(path)] |= (others & parts.keys()) - {part_of(path)}
    found[UPWARD[0]].discard(UPWARD[1])
    return found


def needed_by(part, imports):
    """All parts that a part needs, at first or second hand."""
    found = set()
    for other in imports[part]:
        found |= {other} | needed_by(other, imports)
    return found


def reduce_arrows(imports):
    """Leave out the arrows that follow from others."""
    return {
        part: {other for other in others if not any(other in needed_by(o, imports) for o in others - {other})}
        for part, others in imports.items()
    }


def find_levels(imports, top="cli"):
    """Height of each part: just below the lowest part that imports it, or just above all parts that it imports."""
    main = {top} | needed_by(top, imports)
    importers = {part: [other for other in main if part in imports[other]] for part in main}

    @functools.cache
    def depth(part):
        if part in main:
            return max((depth(other) + 1 for other in importers[part]), default=0)
        return min((depth(other) - 1 for other in imports[part]), default=lowest)

    lowest = max(map(depth, main))
    return {part: lowest - depth(part) for part in imports}


class Box:
    """A part with its files, in as many columns as are needed."""

    def __init__(self, name, files):
        self.name, self.total = name, sum(files.values())
        single = set(files) == {name}
        self.title = f"{name}.py" if single else f"{name}/"
        texts = [(f"{file}.py", str(lines)) for file, lines in files.items() if not single and lines > 1]
        self.columns = [texts[start : start + FEW] for start in range(0, len(texts), FEW)]
        widths = [max(len(a) + len(b) + 2 for a, b in column) * CHARACTER for column in self.columns]
        self.widths = widths
        self.width = max(sum(widths) + 0.2 * (len(widths) - 1), (len(self.title) + 7) * CHARACTER * 1.15) + 0.24
        self.height = TITLE + LINE * max(map(len, self.columns), default=0) + 0.12
        self.x = self.y = 0.0
        self.row = (0.0, 0.0)  # lower and upper edge

    def draw(self, axes):
        """Draw the box with its title and files."""
        colour = COLOURS.get(self.name, "#eeeeee")
        style = "round,pad=0,rounding_size=0.06"
        axes.add_patch(
            FancyBboxPatch((self.x, self.y), self.width, self.height, style, fc=colour, ec="0.35", lw=0.8, zorder=2)
        )
        top, left = self.y + self.height, self.x + 0.12
        axes.text(left, top - 0.2, self.title, fontsize=9.5, fontweight="bold", va="center", zorder=3)
        axes.text(
            self.x + self.width - 0.12, top - 0.2, f"{self.total}", fontsize=9.5, va="center", ha="right", zorder=3
        )
        for column, width in zip(self.columns, self.widths, strict=True):
            for number, (file, lines) in enumerate(column):
                y = top - TITLE - LINE * (number + 0.55)
                axes.text(left, y, file, fontsize=7.5, va="center", zorder=3)
                axes.text(left + width, y, lines, fontsize=7.5, va="center", ha="right", color="0.4", zorder=3)
            left += width + 0.2

    def anchor(self, other, *, top):
        """Point of the upper or lower edge that is nearest to another box."""
        centre = other.x + other.width / 2
        share = min(max((centre - self.x) / self.width, 0.2), 0.8)
        return self.x + share * self.width, self.y + (self.height if top else 0)


class Passage:
    """Free space in a row, through which an arrow passes between the boxes."""

    width = 0.12

    def __init__(self, name):
        self.name = name
        self.x = self.y = self.height = 0.0
        self.row = (0.0, 0.0)

    def anchor(self, other, *, top):
        """Point at which the arrow enters or leaves the row."""
        del other
        return self.x + self.width / 2, self.y + (self.height if top else 0)


def make_chains(arrows, levels):
    """Give each arrow as a chain of names: its ends, and a passage in each row between them."""
    for part, others in arrows.items():
        for other in others:
            between = range(levels[part] - 1, levels[other], -1)
            yield [part, *(f"{part}>{other}@{level}" for level in between), other]


def arrange(items, levels, chains):
    """Put boxes and passages in rows by level, each near those above and below that it is linked to."""
    rows = [[items[name] for name in items if levels[name] == level] for level in sorted(set(levels.values()))]
    rows.reverse()
    links = {name: set() for name in items}
    for chain in chains:
        for first, second in itertools.pairwise(chain):
            links[first].add(second)
            links[second].add(first)
    for _ in range(ROUNDS):
        for row in (*rows, *rows[::-1], *rows):
            wanted = {item.name: _mean([_centre(items[name]) for name in links[item.name]]) for item in row}
            row.sort(key=lambda item: wanted[item.name])
            _place(row, wanted)
    height = 0.0
    for row in rows:
        tallest = max(item.height for item in row)
        for item in row:
            if isinstance(item, Passage):
                item.height = tallest
            item.y = -height - (tallest + item.height) / 2
            item.row = (-height - tallest, -height)
        height += tallest + ROW_GAP
    return height - ROW_GAP


def _place(row, wanted):
    """Place a row with its boxes near the wanted centres, without overlaps."""
    left = MARGIN
    for item in row:
        item.x = max(wanted[item.name] - item.width / 2, left)
        left = item.x + item.width + GAP
    right = WIDTH - MARGIN
    for item in reversed(row):
        item.x = min(item.x, right - item.width)
        right = item.x - GAP


def _centre(item):
    return item.x + item.width / 2


def _mean(values):
    return sum(values) / len(values) if values else WIDTH / 2


def draw_chain(axes, items):
    """Draw an arrow through the passages between its ends."""
    points = []
    for first, second in itertools.pairwise(items):
        start, end = first.anchor(second, top=False), second.anchor(first, top=True)
        points += [start, (start[0], first.row[0]), (end[0], second.row[1]), end]  # straight down inside a row
    path = MplPath(list(dict.fromkeys(points)))
    arrow = FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, lw=0.9, color="0.3", zorder=1)
    axes.add_patch(arrow)


def draw(picture):
    """Draw the figure into a file."""
    parts = read_parts()
    imports = read_imports(parts)
    levels = find_levels(imports)
    items = {part: Box(part, files) for part, files in parts.items()}
    chains = list(make_chains(reduce_arrows(imports), levels))
    for chain in chains:
        for name in chain[1:-1]:
            items[name], levels[name] = Passage(name), int(name.rpartition("@")[2])
    height = arrange(items, levels, chains)
    figure = Figure(figsize=(WIDTH, height + 2 * MARGIN))
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, WIDTH), ylim=(-height - MARGIN, MARGIN))
    axes.set_axis_off()
    for chain in chains:
        draw_chain(axes, [items[name] for name in chain])
    for part in parts:
        items[part].draw(axes)
    figure.savefig(picture, bbox_inches="tight", pad_inches=0.05)


if __name__ == "__main__":
    draw(sys.argv[1])
