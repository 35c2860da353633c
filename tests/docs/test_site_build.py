"""The site, built once: without a warning, without a network, and every link within it leads somewhere."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("numba")

from ci.site.public import ROOT, Public

ADDRESSES = {"a": "href", "link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page of HTML leads to, loads, and can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.loads, self.anchors = path, [], [], set()
        text = path.read_text()
        code = text.find("<pre>\n") if "/source/" in path.as_posix() else -1  # of a file: only lines to lead to
        self.anchors |= set(re.findall(r'id="(L\d+)"', text)) if code >= 0 else set()
        self.feed(text[:code] if code >= 0 else text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if address := found.get(ADDRESSES.get(tag, "")):
            (self.links if tag == "a" else self.loads).append(address)


class Site:
    """The pages that were built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pages(self) -> dict[Path, Page]:
        return {path: Page(path) for path in sorted(self.folder.rglob("*.html"))}


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The site, built by the first of the processes that tests run in; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "source").exists():  # which is written last
            build(folder)
    return Site(folder)


def build(folder: Path) -> None:
    """Build with warnings as errors, as ci/docs does."""
    command = [sys.executable, "-m", "ci.site.build", str(folder)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_every_link_of_the_site_leads_to_a_file_and_an_anchor_that_exist(site):
    lost = []
    for path, page in site.pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = site.pages[target].anchors if target in site.pages else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in known):
                lost.append(f"{path.relative_to(site.folder)}: {link}")
    assert len(site.pages) > 30
    assert lost == []


def test_no_page_loads_anything_from_the_network(site):
    loads = [load for page in site.pages.values() for load in page.loads]
    assert [load for load in loads if urlsplit(load).netloc] == []
    styles = [
        path for path in site.folder.rglob("*.css") if "url(http" in path.read_text() or "@import" in path.read_text()
    ]
    assert styles == []


def test_every_public_name_can_be_led_to(site):
    anchors = {anchor for path, page in site.pages.items() if path.parent.name == "api" for anchor in page.anchors}
    assert [entry.paths[0] for entry in Public().entries if entry.paths[0] not in anchors] == []


def test_equations_are_mathematics_of_the_browser(site):
    text = (site.folder / "api/ops.html").read_text()
    assert text.count("<math ") >= 20
    assert "mathjax" not in text.lower()
