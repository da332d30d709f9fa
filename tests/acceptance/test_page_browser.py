"""The status page of a real daemon in a real browser: live, safe against what rows hold, and for every screen."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support import CommandLine, end_of, execute, line_with

from syncer.sandbox.app import create_app
from syncer.sandbox.sample import create_sample
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

TOKEN = "a-token-of-some-length"
HOSTILE = "<script>window.hit=1</script>\"'><img src=x onerror=window.hit=1>"
CONFIG = """\
version: 1
sources: {app: {url: "sqlite:///app.db"}}
destination: {write_key: a-write-key, endpoint: "${ENDPOINT}", max_in_flight: 2}
state: {url: "sqlite:///syncer.db"}
serve: {port: 0, token: "${SYNCER_TOKEN}"}
defaults: {schedules: [{every: 12h}]}
mappings:
  hosts: {table: hosts, watermark: updatedAt}
  reviews: {table: reviews, send: all, schedules: [{cron: "0 0 29 2 *"}]}
  letters: {table: letters, watermark: updatedAt}
  postcards: {table: postcards, primary_key: id, watermark: updatedAt}
  cities: {query: 'SELECT id FROM "<script>window.hit=1</script>"', primary_key: id}
"""
#: what the API refuses
REFUSED = "refuse this"
QUOTED = HOSTILE.replace("'", "''")
LETTERS = f"""
CREATE TABLE letters (id TEXT PRIMARY KEY, body TEXT, updatedAt TIMESTAMP);
INSERT INTO letters VALUES ('{QUOTED}', '{REFUSED} {QUOTED}', '2026-01-01 00:00:00');
CREATE TABLE postcards AS SELECT 1 AS id, body, updatedAt FROM letters;
CREATE UNIQUE INDEX postcards_key ON postcards (id);
"""
#: runs in every page before its own scripts: what the content policy had to stop is remembered
LISTEN = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
#: the tab is hidden, or seen again
SEEN = """
(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
#: the text elements whose colour stands out less from what lies behind it than WCAG AA asks
FAINT = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => {
    const [r, g, b] = [...rgb(colour)].slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const texts = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility()
    && [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
  const ratio = (node) => {
    const [one, other] = [light(getComputedStyle(node).color), light(ground(node))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const faint = texts.filter((node) => ratio(node) < 4.5);
  return [texts.length, faint.map((node) => `${node.textContent.trim()} ${ratio(node).toFixed(2)}`)];
}
"""


class Api:
    """The sandbox with a mind of its own: how long it takes is up to the test, and it refuses some objects."""

    def __init__(self, warehouse: Warehouse) -> None:
        #: seconds that a request takes
        self.pause = 0.0
        self._sandbox = create_app(warehouse)
        self._sandbox.add_middleware(self._between)

    @property
    def app(self) -> Starlette:
        """To be served."""
        return self._sandbox

    def _between(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(self.pause)
            arrived = [await receive()]
            if REFUSED.encode() in arrived[0].get("body", b""):
                await JSONResponse({"success": False, "error": "this is refused"}, 400)(scope, receive, send)
                return

            async def again() -> Message:
                return arrived.pop() if arrived else await receive()

            await app(scope, again, send)

        return answer


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A daemon that runs, and where its page is."""

    url: str
    folder: Path
    api: Api

    def change(self, sql: str) -> None:
        """Change the source."""
        execute(self.folder / "app.db", sql)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """`syncer serve` in a folder of its own, with an API that takes its time."""
    folder = tmp_path_factory.mktemp("page")
    create_sample(folder / "app.db")
    execute(folder / "app.db", LETTERS)
    syncer = CommandLine(folder=folder, environment={"SYNCER_TOKEN": TOKEN})
    syncer.write("syncer.yaml", CONFIG)
    with (
        Warehouse(":memory:") as warehouse,
        running((api := Api(warehouse)).app) as endpoint,
        syncer.started("serve", ENDPOINT=endpoint) as process,
    ):
        told = line_with("the status page is at", process.stderr)
        found = re.search(r"http://\S+", told)
        assert found is not None
        yield Daemon(url=found[0], folder=folder, api=api)
        process.send_signal(signal.SIGTERM)
        assert end_of(process).code == 143


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it, started once."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        told = "Chromium is not installed: `apt-get install chromium` provides it"
        if os.environ.get("SYNCER_REQUIRE_DATABASES") == "1":
            pytest.fail(told)
        pytest.skip(told)
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        # root may not use the sandbox, and what is opened here is ours
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, daemon: Daemon) -> Iterator[Open]:
    """Opens pages, each in a browser of its own; at the end none of them may have complained about anything."""
    pages: list[tuple[Page, list[str]]] = []

    def open_(path: str = "/", *, token: str | None = None, **settings: Any) -> Page:
        settings.setdefault("viewport", {"width": 1240, "height": 800})
        context = browser.new_context(base_url=daemon.url, **settings)
        context.add_init_script(LISTEN)
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if token is not None:
            page.goto(f"/login?next={path}")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
        else:
            page.goto(path)
        pages.append((page, complaints))
        return page

    yield open_
    for page, complaints in pages:
        assert complaints == [], page.url
        page.context.close()


@contextmanager
def unchanged(page: Page) -> Iterator[None]:
    """The page is not loaded anew meanwhile, nothing in it could run, and nothing was stopped by the policy."""
    page.evaluate("window.stays = true")
    yield
    assert page.evaluate("window.stays") is True
    assert page.evaluate("[window.hit, window.violations]") == [None, []]


def hastened(page: Page) -> Page:
    """The page with a clock that goes only where it is moved, as if loaded with it."""
    page.clock.install()
    page.reload()
    return page


def look_again(page: Page, ends: str = "requestfinished") -> None:
    """Let so much time pass that it asks again, and wait until that was answered, or else has `requestfailed`."""
    with page.expect_event(ends, lambda request: request.resource_type == "fetch"):
        page.clock.fast_forward(31_000)


def line(page: Page, mapping: str) -> Any:
    """A mapping's line in the overview."""
    return page.locator(f"#m-{mapping}")


def test_it_is_live(opened: Open, daemon: Daemon) -> None:
    """While a run goes on its bar moves and its end shows; focus, scrolling and what was opened stay as they were."""
    page = opened("/mappings/reviews", token=TOKEN, viewport={"width": 1240, "height": 300})
    daemon.api.pause = 0.2
    page.get_by_role("button", name="Run in full").click()
    expect(page.locator("main .state").first).to_contain_text("running")
    with unchanged(page):
        page.get_by_role("button", name="Run now").focus()
        page.evaluate("scrollTo(0, 40)")
        told = page.locator(".progress .told").first
        for _ in range(2):
            expect(told).not_to_have_text(told.inner_text())
        daemon.api.pause = 0.0
        expect(page.locator("main .state").first).to_contain_text("ok")
        expect(page.locator("#runs tbody tr")).to_have_count(1)
        assert page.evaluate("document.activeElement.innerText").startswith("Run now")
        assert page.evaluate("scrollY") == 40


def test_what_was_opened_stays_open(opened: Open) -> None:
    """An object that is being looked at is not closed by the next look."""
    page = hastened(opened("/mappings/letters/dead-letters/API_400", token=TOKEN))
    with unchanged(page):
        page.locator("summary").first.click()
        look_again(page)
        look_again(page)
        expect(page.locator("details[open] pre").first).to_be_visible()


def test_rows_and_errors_are_inert(opened: Open) -> None:
    """Markup in ids, objects and error texts is shown as it is written, and runs nowhere."""
    page = opened("/", token=TOKEN)
    with unchanged(page):
        expect(line(page, "cities")).to_contain_text("<script>window.hit=1</script>")
    page.goto("/mappings/letters/dead-letters/API_400")
    with unchanged(page):
        expect(page.locator(".letters")).to_contain_text(HOSTILE)
        page.locator("summary").first.click()
        expect(page.locator("details pre").last).to_contain_text("onerror=window.hit=1")
        assert page.locator("main img, main script").count() == 0


def test_without_the_token_nothing_can_be_done(opened: Open, daemon: Daemon) -> None:
    """Reading works, there are no buttons, row contents are hidden, and what is asked for all the same is refused."""
    page = opened("/mappings/letters")
    expect(page.get_by_role("link", name="Sign in to act")).to_be_visible()
    assert page.locator("main button").count() == 0
    page.goto("/mappings/letters/dead-letters/API_400")
    assert HOSTILE not in page.locator("main").inner_text()
    for action in ("run", "pause", "retry"):
        answer = page.request.post(f"/mappings/letters/{action}", headers={"Origin": daemon.url})
        assert answer.status == 401
        assert (
            page.request.post(f"/mappings/letters/{action}", headers={"Origin": "https://evil.example"}).status == 403
        )


def test_run_pause_and_retry_with_the_token(opened: Open, daemon: Daemon) -> None:
    """Run now runs, pause and resume show, and a retry of a mended row makes its dead letter go."""
    page = opened("/", token=TOKEN)
    expect(line(page, "hosts")).to_contain_text("ok")
    line(page, "hosts").get_by_role("button", name="Pause").click()
    expect(line(page, "hosts")).to_contain_text("paused")
    line(page, "hosts").get_by_role("button", name="Run now").click()
    line(page, "hosts").get_by_role("button", name="Resume").click()
    expect(line(page, "hosts")).to_contain_text("ok")
    expect(line(page, "hosts").locator(".bars a")).to_have_count(2)
    daemon.change("UPDATE postcards SET body = 'mended'")
    page.goto("/mappings/postcards")
    page.locator("#dead-letters").get_by_role("button", name=re.compile("^Retry all")).click()
    expect(page.locator("#dead-letters")).to_have_count(0)
    expect(page.locator("#runs")).to_contain_text("dead-letters retry")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in to act")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(opened: Open, scheme: str) -> None:
    """In both schemes all texts have the contrast that WCAG AA asks for, and the schemes differ."""
    page = opened("/", token=TOKEN, color_scheme=scheme)
    links = [line(page, "cities").locator(".bars a").first.get_attribute("href")]
    for path in ["/", "/mappings/cities", *links, "/mappings/letters/dead-letters/API_400", "/login"]:
        page.goto(str(path))
        texts, faint = page.evaluate(FAINT)
        assert (texts > 3, faint) == (True, []), path
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 150 if scheme == "dark" else "rgb(2" in ground


def test_a_phone(opened: Open) -> None:
    """At 375 pixels no page has to be moved sideways."""
    page = opened("/", token=TOKEN, viewport={"width": 375, "height": 700})
    run = line(page, "hosts").locator(".bars a").first.get_attribute("href")
    paths = ("/", "/mappings/reviews", run, "/mappings/letters", "/mappings/cities", "/login", "/nowhere")
    for path in paths:
        if path == "/nowhere":
            assert page.request.get(path, headers={"Accept": "text/html"}).status == 404
            continue
        page.goto(str(path))
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path


def test_without_scripts(opened: Open) -> None:
    """Everything can be read, is refreshed by the browser, and the buttons work."""
    page = opened("/", token=TOKEN, java_script_enabled=False)
    expect(line(page, "hosts")).to_contain_text("ok")
    assert page.locator('noscript > meta[http-equiv="refresh"]').count() == 1
    expect(page.locator(".fresh")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d UTC"), use_inner_text=True)
    line(page, "hosts").get_by_role("button", name="Pause").click()
    expect(line(page, "hosts")).to_contain_text("paused")
    line(page, "hosts").get_by_role("button", name="Resume").click()
    expect(line(page, "hosts")).to_contain_text("ok")


def test_a_hidden_tab_asks_for_nothing(opened: Open) -> None:
    """It asks again and again while it is seen, not at all while it is hidden, and at once when it is seen again."""
    page = hastened(opened())
    look_again(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.evaluate(SEEN, True)
    page.clock.run_for(600_000)
    assert asked == []
    with page.expect_event("requestfinished"):
        page.evaluate(SEEN, False)
        page.clock.run_for(10)
    assert asked == ["fetch"]


def test_a_daemon_that_does_not_answer(browser: Browser, daemon: Daemon) -> None:
    """The page says that what it shows may be old, keeps it, and takes it back when the daemon answers again."""
    context = browser.new_context(base_url=daemon.url)
    page = context.new_page()
    page.goto("/")
    page = hastened(page)
    lost = page.get_by_text("The daemon does not answer.")
    look_again(page)
    assert lost.is_hidden()
    context.set_offline(True)
    for _ in range(2):
        look_again(page, "requestfailed")
    expect(lost).to_be_visible()
    expect(line(page, "hosts")).to_be_visible()
    context.set_offline(False)
    look_again(page)
    expect(lost).to_be_hidden()
    context.close()
