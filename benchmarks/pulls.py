"""
Pulls of every term over many realisations of the cases of ``pull_cases.py``: the mean should be 0, the width 1.

Run ``python benchmarks/pulls.py --number 400`` with the project installed; it takes about 10 minutes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pull_cases import CASES, collect


def main():
    """Print a table: a row for each case and term."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=400, help="realisations of each case [400]")
    parser.add_argument("--seed", type=int, default=2024, help="seed [2024]")
    parser.add_argument("--only", default="", help="only the cases whose name holds this text")
    given = parser.parse_args()
    print("| case | term | determined | mean | width | largest |\n|---|---|---|---|---|---|")
    for number, (name, case) in enumerate(CASES.items()):
        if given.only in name:
            for term, found in collect(case, given.number, given.seed + number).items():
                shown = f"{np.mean(found):+.2f} | {np.std(found, ddof=1):.2f} | {np.abs(found).max():.1f}"
                print(f"| {name} | {term} | {len(found)} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
