"""
Look at pages as readers see them: screenshots in headless Chromium at two widths, in the light and the dark theme.

Run as ``python docs/screenshots.py FOLDER PAGE.html ...``; each page is opened from the disk with no network, and a
picture of it for each width and theme is written into FOLDER. Ends with status 1, and says why, where a page logs an
error on the console, asks for anything from outside, is wider than the window, or has a picture that does not load.
"""

import argparse
import os
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desk": 1280, "phone": 390}  # CSS pixels
THEMES = ("light", "dark")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

BROKEN_PICTURES = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src.slice(0, 80))"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def look_at(browser, page_file, kind, theme, folder):
    """Take a picture of a page at one width in one theme, and list what is wrong with it."""
    page = browser.new_page(viewport={"width": WIDTHS[kind], "height": 900}, color_scheme=theme)
    problems = []
    page.on("console", lambda message: message.type == "error" and problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("request", lambda request: _is_outside(request.url) and problems.append(f"network: {request.url}"))
    page.goto(page_file.resolve().as_uri())
    problems += [f"picture does not load: {source}" for source in page.evaluate(BROKEN_PICTURES)]
    if (overflow := page.evaluate(OVERFLOW)) > 1:
        problems.append(f"is {overflow} pixels wider than a window of {WIDTHS[kind]}")
    name = f"{page_file.resolve().parent.name}_{page_file.stem}_{kind}_{theme}.png"
    page.screenshot(path=folder / name, full_page=True)
    page.close()
    return [f"{page_file.name}, {kind}, {theme}: {problem}" for problem in problems]


def _is_outside(url):
    return not url.startswith(("file:", "data:", "blob:"))


def main():
    """Look at every page at every width in every theme."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", type=Path, nargs="+")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        views = [(page, kind, theme) for page in given.pages for kind in WIDTHS for theme in THEMES]
        problems = [problem for view in views for problem in look_at(browser, *view, given.folder)]
        browser.close()
    print(*problems or [f"{len(given.pages)} pages in {len(WIDTHS) * len(THEMES)} views: nothing wrong"], sep="\n")
    return bool(problems)


if __name__ == "__main__":
    raise SystemExit(main())
