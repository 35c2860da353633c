"""Draw the picture of the playground in the README: the plane, trained on spirals, as chromium shows it.

python -m tests.playground.picture examples/pictures/playground.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from tests.playground import chromium
from xpnet import get_backend
from xpnet.playground import Server

WIDTH, HEIGHT = 1200, 780
STEPS = 4000
STATE = f"data=spirals&noise=0.05&layers=8,8&optimizer=adam&lr=0.01&steps={STEPS}"
COLOURS = 128


def draw(path: Path) -> None:
    """Write the picture, with as few colours as it needs."""
    from playwright.sync_api import sync_playwright

    with Server(get_backend("cpu")) as server, sync_playwright() as driver:
        browser = chromium.launch(driver)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{server.address}#{STATE}")
        trained = page.locator("#steps").filter(has_text=f"{STEPS:,}")
        trained.wait_for(timeout=120_000)
        page.wait_for_timeout(500)  # the last frame is drawn
        raw = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    if chromium.find() is None:
        sys.exit("picture: chromium is not installed")
    draw(Path(sys.argv[1]))
