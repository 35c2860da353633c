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

WIDTH = 1200
STEPS = 2000
STATE = f"data=spirals&noise=0.1&layers=8,8&optimizer=adam&lr=0.01&steps={STEPS}"
COLOURS = 128
VIEW = {"width": 1280, "height": 836}  # of the page, which is scaled to the width of the picture


def draw(path: Path) -> None:
    """Write the picture, with as few colours as it needs."""
    from playwright.sync_api import sync_playwright

    with Server(get_backend("cpu")) as server, sync_playwright() as driver:
        browser = chromium.launch(driver)
        page = browser.new_page(viewport=VIEW, device_scale_factor=WIDTH / VIEW["width"])
        page.goto(f"{server.address}#{STATE}")
        trained = page.locator("#steps").filter(has_text=f"{STEPS:,}")
        trained.wait_for(timeout=120_000)
        page.wait_for_timeout(500)  # the last frame is drawn
        page.evaluate("document.getElementById('backend').hidden = true")  # a version, which would be an old one soon
        raw = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    if chromium.find() is None:
        sys.exit("picture: chromium is not installed")
    draw(Path(sys.argv[1]))
