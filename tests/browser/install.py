"""Finds a Chromium for the browser tests, or installs one; says what to do where it can't."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The browser to drive: one on the PATH, or the one that Playwright keeps."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """With Debian's packages where we may, else Playwright's own download."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        packages = ["chromium", "fonts-noto-cjk"]
        done = subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=False)
        if done.returncode == 0:
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    path = find()
    if path is None:
        print("No Chromium found; installing one for the browser tests.", flush=True)
        install()
        path = find()
    if path is None:
        print(
            "The browser tests need Chromium, which could not be installed. Install it yourself,\n"
            "  Debian, Ubuntu:  sudo apt-get install chromium fonts-noto-cjk\n"
            "  elsewhere:       .venv-test/bin/python -m playwright install chromium\n"
            "then run `make test` again. The other tests run without a browser:\n"
            "  .venv-test/bin/python -m pytest -m 'not browser'",
            file=sys.stderr,
        )
        return 1
    print(f"Browser tests use {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
