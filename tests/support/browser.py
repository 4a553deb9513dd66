"""A real browser without a window: the machine's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
"""The names that tools/bootstrap.sh looks for as well."""

# It shall speak to the server under test and to nobody else.
_QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")

# Playwright's own five seconds are for a machine that does nothing else; what comes is not waited for longer.
expect.set_options(timeout=40_000)


class NoChromiumError(Exception):
    """There is no Chromium on PATH."""


def find_chromium() -> Path:
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return Path(found)
    raise NoChromiumError("no Chromium on PATH: run `sh tools/bootstrap.sh test`")


@contextmanager
def run_browser() -> Iterator[Browser]:
    """One Chromium, ended with the context; each of its own contexts is a person with no cookies."""
    # Chromium's sandbox does not work for root.
    arguments = [*_QUIET, "--no-sandbox"] if os.geteuid() == 0 else [*_QUIET]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()
