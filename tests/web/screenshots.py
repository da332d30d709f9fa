"""Draws the pictures of the status page in `docs/images`, from the sample and with the system's Chromium."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin

from playwright.async_api import Browser, async_playwright
from web_sample import busy, fill, sample_config

from syncer.service.web import serve_web
from syncer.state import MemoryStore

TOKEN = "only-for-the-pictures"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
NOW = datetime(2026, 3, 2, 14, 19, tzinfo=UTC)
#: name, path, scheme, width, height, pixels per point
PICTURES = (
    ("status", "/", "light", 1180, 620, 1.5),
    ("status-dark", "/", "dark", 1180, 620, 1.5),
    ("status-mapping", "/mappings/reviews", "light", 1180, 690, 1.5),
    ("status-run", "/runs/{run}", "light", 1180, 730, 1.5),
    ("status-phone", "/", "light", 375, 760, 2.0),
)


async def draw() -> None:
    """All of them."""
    store = MemoryStore()
    fill(store, NOW)
    with tempfile.TemporaryDirectory() as folder:
        control, watch = busy(sample_config(Path(folder)), store, NOW)
        serving = serve_web(control, host="127.0.0.1", port=0, token=TOKEN, watch=watch, now=lambda: NOW)
        async with serving as url, async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--font-render-hinting=none"]
            )
            for name, path, scheme, width, height, scale in PICTURES:
                place = url + path.format(run=control.runs[0].run_id)
                await picture(browser, place, IMAGES / f"{name}.png", scheme, (width, height), scale)
            await browser.close()


async def picture(browser: Browser, url: str, file: Path, scheme: str, size: tuple[int, int], scale: float) -> None:
    """One page as whoever is signed in sees it."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale,
        color_scheme="dark" if scheme == "dark" else "light",
    )  # fmt: skip
    page = await context.new_page()
    await page.goto(urljoin(url, "/login"))
    await page.get_by_label("Token").fill(TOKEN)
    await page.get_by_role("button", name="Sign in").click()
    await page.goto(url)
    await page.screenshot(path=file)
    await context.close()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    asyncio.run(draw())
