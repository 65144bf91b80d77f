from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes import tone_engine
from xtts_rtc.app import create_app
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing
from xtts_rtc.transports.pages import ASSETS, CONTENT_TYPES, page_routes
from xtts_rtc.types import LANGUAGES

PAGES = {"page": "/", "call": "/call/", "docs": "/docs"}
PATHS = [route.path for name, at in PAGES.items() for route in page_routes(name, at)]


@pytest.fixture
async def client(no_leaked_tasks: None) -> AsyncIterator[httpx.AsyncClient]:
    async with tone_engine(ToneBackend()) as engine:
        front = [*page_routes("page", "/"), *page_routes("call", "/call/", may_listen=True)]
        app = create_app(engine, guards=Guards(keys=KeyRing({"default": "secret"})), front=front)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as made:
            yield made


def test_every_file_of_a_page_is_served() -> None:
    files = {f"/{name}/{path.name}" for name in PAGES for path in (ASSETS / name).iterdir()}
    assert {path for path in PATHS if path not in PAGES.values()} == {path for path in files if "/index." not in path}
    assert {path.suffix for name in PAGES for path in (ASSETS / name).iterdir()} == set(CONTENT_TYPES)


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_comes_without_a_key_with_its_type_and_its_guards(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    ending = "." + path.rpartition(".")[2] if path not in PAGES.values() else ".html"
    assert answer.headers["content-type"] == CONTENT_TYPES[ending]
    assert ("microphone=()" in answer.headers.get("permissions-policy", "")) == (path in ("/", "/docs"))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_a_file_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/page/main.mjs")
    assert first.headers["cache-control"] == "no-cache"
    for tag in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = await client.get("/page/main.mjs", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert (await client.get("/page/main.mjs", headers={"If-None-Match": '"other"'})).content == first.content
    assert (await client.get("/")).headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/../pages.py", "/page/%2e%2e/pages.py", "/page/x.mjs"]
)
async def test_nothing_else_is_below_the_page(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (401, 404)


async def test_the_page_opens_nothing_else(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/voices")).status_code == 401
    assert (await client.get("/page")).status_code == 401
    assert (await client.post("/", json={})).status_code == 401  # open for reading only


def test_the_page_offers_the_languages_of_the_model() -> None:
    page = (ASSETS / "page" / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<option value="([a-z-]+)">', page)) == set(LANGUAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_no_other_host_and_no_inline_script_or_style(name: str) -> None:
    for path in (ASSETS / name).iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.findall(r"https?://(?!server:8020)|\beval\b|innerHTML|\bon[a-z]+=", text) == [], path.name
    page = (ASSETS / name / "index.html").read_text(encoding="utf-8")
    assert "style=" not in page and "<style" not in page
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
