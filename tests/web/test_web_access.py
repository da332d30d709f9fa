"""Who may do what on the page: every route, from here and from elsewhere, with and without the token."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from starlette.routing import Route
from web_client import BEARER, BROWSER, TOKEN, Client
from web_control import StillControl

from syncer.service.web import Watch
from syncer.service.web.door import COOKIE
from syncer.service.web.sessions import LASTS, TRIES

Sample = tuple[StillControl, Watch]

#: what stands in the paths
NAMES = {"mapping": "reviews", "code": "API_400", "name": "syncer.css"}
#: open to everybody, everywhere
OPEN = {"/healthz", "/readyz", "/login", "/static/{name}"}
#: a refusal by the door
REFUSED = {401, 403, 421, 429}

CREDENTIALS = {
    "none": {},
    "wrong bearer": {"Authorization": "Bearer not-the-token"},
    "another scheme": {"Authorization": f"Basic {TOKEN}"},
    "wrong cookie": {"Cookie": f"{COOKIE}=guessed"},
    "right bearer": BEARER,
    "cookie": {},  # filled in, as it is made by the page
}
ORIGINS = {"no origin": None, "own origin": "http://{host}", "evil origin": "https://evil.example", "null": "null"}


def routes(client: Client) -> Iterator[tuple[str, str]]:
    """Every path of the application, as it is written, with each method."""
    for route in client.app.routes:
        assert isinstance(route, Route)
        for method in sorted(route.methods or ()):
            yield method, route.path


def allowed(method: str, path: str, credentials: str, origin: str, *, loopback: bool) -> bool:
    """The rules, as the README has them."""
    known = credentials in ("right bearer", "cookie")
    if method in ("GET", "HEAD"):
        return known or loopback or path in OPEN
    from_page = origin == "own origin" or (origin == "no origin" and "bearer" in credentials)
    return from_page and (known or path == "/login")


@pytest.mark.parametrize("loopback", [True, False], ids=["loopback", "elsewhere"])
def test_every_route_with_every_credential_and_origin(sample: Sample, loopback: bool) -> None:
    """Reading is free on loopback alone; acting takes the token and a page of ours, or the token and no page."""
    control, watch = sample
    run = control.store.runs("hosts", 1)[0].run_id
    for method, path in routes(Client(control=control, watch=watch)):
        for credentials, origin in product(CREDENTIALS, ORIGINS):
            client = Client(control=control, watch=watch, loopback=loopback)
            headers = dict(CREDENTIALS[credentials])
            if credentials == "cookie":
                headers["Cookie"] = client.session()["Cookie"]
            if ORIGINS[origin]:
                headers["Origin"] = str(ORIGINS[origin]).format(host=client.host)
            answer = client(method, path.format(**NAMES, run=run), headers)
            expected = allowed(method, path, credentials, origin, loopback=loopback)
            if (method, path) == ("POST", "/login") and expected:
                assert answer.status_code == 401  # let in to try, and the form had no token
                continue
            place = (method, path, credentials, origin, answer.status_code)
            assert (answer.status_code not in REFUSED) == expected, place
            assert not expected or answer.status_code in (200, 303), place


def test_the_matrix_knows_all_routes(sample: Sample) -> None:
    """There are routes that read and routes that act, and none is hidden in another application."""
    found = list(routes(Client(control=sample[0])))
    assert {method for method, _ in found} == {"GET", "HEAD", "POST"}
    assert ("POST", "/mappings/{mapping}/retry") in found
    assert len(found) >= 20


EVIL = [
    "evil.example", "evil.example:8080", "127.0.0.1.evil.example:8080", "localhost.evil.example:8080", "",
    "evil.example@127.0.0.1:8080", "127.0.0.1:8080/evil", "127.0.0.1:8080:8080", "127.0.0.1:port",
]  # fmt: skip


@pytest.mark.parametrize("host", EVIL)
@pytest.mark.parametrize("loopback", [True, False], ids=["loopback", "elsewhere"])
def test_strange_hosts_are_refused_on_every_route(sample: Sample, loopback: bool, host: str) -> None:
    """A name that is not ours is turned away on every route, also with the token."""
    client = Client(control=sample[0], loopback=loopback)
    for method, path in routes(client):
        answer = client.raw(method, path.format(**NAMES, run="1"), [("Host", host), *BEARER.items()])
        assert answer.status_code == 421, (method, path)


@pytest.mark.parametrize(
    ("host", "answered"),
    [("127.0.0.1:8080", True), ("localhost:8080", True), ("LOCALHOST:8080", True), ("[::1]:8080", True),
     ("127.0.0.1", False), ("127.0.0.1:8081", False), ("127.0.0.2:8080", False), ("10.0.0.1:8080", False),
     ("sync.example:8080", False)],
)  # fmt: skip
def test_names_on_loopback(sample: Sample, host: str, answered: bool) -> None:
    """Only the loopback names, with the port."""
    assert (Client(control=sample[0]).raw("GET", "/", [("Host", host)]).status_code == 200) == answered


@pytest.mark.parametrize("host", ["sync.example:8080", "sync.example", "10.0.0.7:8080", "[fd00::7]:8080", "localhost"])
def test_names_elsewhere(sample: Sample, host: str) -> None:
    """The name that it is bound to, and addresses, which nobody can make lead here."""
    client = Client(control=sample[0], loopback=False)
    assert client.raw("GET", "/", [("Host", host), *BEARER.items()]).status_code == 200


def test_two_hosts_are_none(sample: Sample) -> None:
    """Whoever sends two is turned away, as nobody knows which of them counts."""
    hosts = [("Host", "127.0.0.1:8080"), ("Host", "127.0.0.1:8080")]
    assert Client(control=sample[0]).raw("GET", "/", hosts).status_code == 421


@pytest.mark.parametrize("host", ["status.example", "status.example:443"])
def test_listed_names_take_the_token(sample: Sample, host: str) -> None:
    """A name of `serve.hosts` is answered, and never taken for this machine."""
    client = Client(control=sample[0], names=("status.example",))
    assert client.raw("GET", "/", [("Host", host)]).status_code == 401
    assert client.raw("GET", "/", [("Host", host), *BEARER.items()]).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host"])
def test_what_a_proxy_passes_on_takes_the_token(sample: Sample, header: str) -> None:
    """A proxy on this machine does not open the page to the world."""
    client = Client(control=sample[0])
    assert client("GET", "/", {header: "203.0.113.9"}).status_code == 401
    assert client("GET", "/", {header: "203.0.113.9", **BEARER}).status_code == 200


def test_without_a_token_nothing_can_be_done(sample: Sample) -> None:
    """No token configured: reading is free on loopback, every action is refused and says what to configure."""
    client = Client(control=sample[0], token=None)
    for method, path in routes(client):
        answer = client(method, path.format(**NAMES, run="1"), {"Origin": f"http://{client.host}", **BEARER})
        assert method != "POST" or (answer.status_code, "serve: {token" in answer.text) == (403, True), path
    assert sample[0].asked == []
    overview = client("GET", "/", BROWSER).text
    assert "<button" not in overview
    assert "serve.token" in overview


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_no_way_in(sample: Sample, method: str) -> None:
    """Whatever is not known to only read is treated as acting, on paths that do not exist, too."""
    for path in ("/", "/mappings/reviews/run", "/nowhere"):
        client = Client(control=sample[0], loopback=False)
        assert client(method, path).status_code == 403
        assert client(method, path, {"Origin": f"http://{client.host}"}).status_code == 401
        assert client(method, path, BEARER).status_code in (404, 405)


def test_strangers_learn_nothing(sample: Sample) -> None:
    """Without the token all paths look alike from elsewhere, also those that do not exist."""
    client = Client(control=sample[0], loopback=False)
    answers = [client("GET", path) for path in ("/", "/mappings/reviews", "/mappings/none", "/nowhere", "/metrics")]
    assert {(each.status_code, each.text) for each in answers} == {(401, answers[0].text)}
    assert "reviews" not in client("GET", "/mappings/reviews", BROWSER).text.replace('value="/mappings/reviews"', "")


def test_signing_in(sample: Sample) -> None:
    """The right token begins a session by a cookie no script can read, and goes on to where one wanted to go."""
    client = Client(control=sample[0], loopback=False)
    page = client("GET", "/mappings/reviews", BROWSER)
    assert (page.status_code, page.headers["www-authenticate"]) == (401, 'Bearer realm="syncer"')
    assert 'name="next" value="/mappings/reviews"' in page.text
    origin = {"Origin": f"http://{client.host}"}
    answer = client("POST", "/login", origin, token=f" {TOKEN} ", next="/mappings/reviews")
    assert (answer.status_code, answer.headers["location"]) == (303, "/mappings/reviews")
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(LASTS)}"):
        assert part in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    signed_in = {"Cookie": cookie.partition(";")[0]}
    assert client("GET", "/", signed_in).status_code == 200
    client.later = LASTS + 1
    assert client("GET", "/", signed_in).status_code == 401


def test_behind_https_the_cookie_is_secure(sample: Sample) -> None:
    """The browser's origin tells that it came by https."""
    client = Client(control=sample[0], loopback=False, names=("status.example",))
    headers = [("Host", "status.example"), ("Origin", "https://status.example")]
    answer = client("POST", "/login", dict(headers), token=TOKEN)
    assert "Secure" in answer.headers["set-cookie"]


def test_signing_out(sample: Sample) -> None:
    """The session is over at once, also for who kept the cookie."""
    client = Client(control=sample[0], loopback=False)
    session = client.session()
    assert client("POST", "/logout", session).status_code == 303
    assert client("GET", "/", session).status_code == 401


def test_guessing_is_slow(sample: Sample) -> None:
    """After a few wrong tokens the right one is not told from a wrong one any more, until some time has passed."""
    client = Client(control=sample[0], loopback=False)
    session = client.session()
    origin = {"Origin": f"http://{client.host}"}
    for number in range(TRIES):
        wrong = client("GET", "/", {"Authorization": f"Bearer {number}"})
        assert wrong.status_code == 401
    refused = client("POST", "/login", origin, token=TOKEN)
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
    assert client("GET", "/", BEARER).status_code == 429
    assert client("GET", "/", session).status_code == 200
    client.later = 60.0
    assert client("GET", "/", BEARER).status_code == 200


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a\r\nX: 1", ""]
)
def test_nobody_is_led_elsewhere(sample: Sample, wanted: str) -> None:
    """After signing in and after acting one stays on the page, whatever the form says."""
    client = Client(control=sample[0])
    session = client.session()
    assert client("POST", "/login", session, token=TOKEN, next=wanted).headers["location"] == "/"
    acted = client("POST", "/mappings/hosts/run", session, back=wanted)
    assert acted.headers["location"] == "/mappings/hosts"


def test_every_answer_is_guarded_by_headers(sample: Sample) -> None:
    """Answers, refusals and errors alike: no inline script or style, no frames, no sniffing, no copies kept."""
    client = Client(control=sample[0])
    paths = ["/", "/static/live.js", "/healthz", "/nowhere", "/login"]
    answers = [
        *(client("GET", path) for path in paths),
        client("POST", "/mappings/hosts/run"),
        client.raw("GET", "/", []),
    ]
    answers.append(client.raw("GET", "/", [("Host", "evil.example")]))
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
        assert policy["form-action"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_pages_hold_no_script_or_style_of_their_own(sample: Sample) -> None:
    """Everything comes from our files, so the policy can forbid the rest."""
    control, watch = sample
    client = Client(control=control, watch=watch)
    run = control.store.runs("reviews", 1)[0].run_id
    for path in ("/", "/mappings/reviews", f"/runs/{run}", "/mappings/reviews/dead-letters/API_400", "/login"):
        page = client("GET", path, BROWSER | BEARER).text
        assert " style=" not in page
        assert "<style" not in page
        assert page.count("<script") == page.count('<script src="/static/live.js" defer></script>')
