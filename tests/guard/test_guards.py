"""Every refusal has one form, one status and the request's id; what passes is not changed."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fake_engine import FakeEngine
from tests.guard.asgi import client_of, guarded
from xtts_rtc.app import create_app
from xtts_rtc.guard.context import CALLER, REQUEST_ID
from xtts_rtc.guard.envelope import PAGE_POLICY
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing
from xtts_rtc.guard.logs import JsonLines, TextLines, configure

KEYS = KeyRing({"anna": "annas-secret", "ben": "bens-secret"})


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/full", 429, "engine_full"), ("/broken", 500, None), ("/nowhere", 404, "not_found")],
)
async def test_every_error_has_our_form_and_an_id(path: str, status: int, code: str | None) -> None:
    async with client_of() as client:
        answer = await client.get(path, headers={"X-Request-ID": "my-id.1"})
    body = answer.json()
    assert answer.status_code == status and set(body) == {"error", "code"} and code in (body["code"], None)
    assert answer.headers["x-request-id"] == "my-id.1"
    assert "spoken text" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 429)


@pytest.mark.parametrize("given", ["", "a b", "ä", "x" * 65, "a\tb", "../x", '"quoted"'])
async def test_an_id_that_is_not_sane_is_replaced(given: str) -> None:
    async with client_of() as client:
        answers = [await client.get("/echo", headers=[(b"X-Request-ID", given.encode())]) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert given not in ids and len(set(ids)) == 2 and all(len(one) == 16 for one in ids)
    assert answers[0].json()["id"] == ids[0]


async def test_an_answer_that_breaks_off_is_not_ended_as_if_it_were_whole(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[bool] = []

    async def send(message: dict[str, object]) -> None:
        ended.append(message["type"] == "http.response.body" and not message.get("more_body", False))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http", "method": "GET", "path": "/breaks-off", "headers": [], "query_string": b"",
        "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
    }  # fmt: skip
    await guarded()(scope, receive, send)  # type: ignore[arg-type]
    assert len(ended) >= 2 and not any(ended)
    assert "generation_failed" in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "auth", ["", "Bearer", "Bearer wrong", "Basic annas-secret", "annas-secret", "Bearer annas-secret "]
)
async def test_without_a_key_there_is_401_and_the_pages(auth: str) -> None:
    async with client_of(Guards(keys=KEYS)) as client:
        refused = await client.get("/echo", headers=[(b"Authorization", auth.encode())])
        assert refused.status_code == 401 and refused.json()["code"] == "unauthorized"
        assert "secret" not in refused.text and "x-request-id" in refused.headers
        for path in ("/", "/page/a", "/healthz"):
            assert (await client.get(path)).status_code == 200
            assert (await client.delete(path)).status_code == 401
        assert (await client.get("/nowhere")).status_code == 401
        assert (await client.get("/page/../echo")).status_code in (401, 404)


async def test_each_key_opens_and_only_its_name_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("xtts_rtc.access")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        async with client_of(Guards(keys=KEYS)) as client:
            for key in ("annas-secret", "bens-secret"):
                headers = {"Authorization": f"Bearer {key}", "X-Request-ID": f"of-{key[0]}"}
                assert (await client.post("/echo?text=spoken", headers=headers, content=b"spoken")).status_code == 200
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["key"], line["request_id"], line["path"], line["status"]) for line in lines] == [
        ("anna", "of-a", "/echo", 200),
        ("ben", "of-b", "/echo", 200),
    ]
    assert all(line["duration_ms"] >= 0 and line["method"] == "POST" and line["level"] == "info" for line in lines)
    assert "secret" not in stream.getvalue() and "spoken" not in stream.getvalue()


async def test_the_log_names_the_route_and_not_what_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(FakeEngine())
    with caplog.at_level(logging.INFO, "xtts_rtc.access"):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server.test") as client:
            for path in ("/healthz?q=spoken", "/", "/v1/voices/spoken", "/spoken"):
                await client.get(path)
    lines = [record.getMessage() for record in caplog.records if record.name == "xtts_rtc.access"]
    assert lines == ["GET /healthz 200", "GET / 200", "GET /v1/voices/{voice_id} 404", "GET other 404"]


def test_a_log_line_is_one_line_whatever_stands_in_it() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "evil\n2026 INFO forged\x1b[31m", (), None)
    token = REQUEST_ID.set("id-1")
    caller = CALLER.set("anna")
    try:
        assert TextLines().format(record).count("\n") == 0 and "\x1b" not in TextLines().format(record)
        assert TextLines().format(record).endswith("key=anna request=id-1")
        line = JsonLines().format(record)
        assert line.count("\n") == 0 and json.loads(line)["message"].startswith("evil\n")
    finally:
        REQUEST_ID.reset(token)
        CALLER.reset(caller)


def test_configure_sends_json_lines_to_the_stream() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure("json", stream)
        logging.getLogger("xtts_rtc.some").info("hello %s", "there")
        try:
            raise KeyError("x")
        except KeyError:
            logging.getLogger("xtts_rtc.some").exception("it failed")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["hello there", "it failed"]
    assert "KeyError" in lines[1]["trace"] and "request_id" not in lines[0]


async def test_pages_get_a_policy_and_everything_is_as_it_says() -> None:
    async with client_of() as client:
        page, data = await client.get("/"), await client.get("/echo")
    assert page.headers["content-security-policy"] == PAGE_POLICY and page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == data.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in data.headers


async def test_a_body_over_the_limit_is_refused_by_its_length_and_while_it_comes() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b"x" * 1000

    async with client_of(Guards(max_body_bytes=5000, max_upload_bytes=10_000)) as client:
        assert (await client.post("/echo", content=b"x" * 5000)).json()["bytes"] == 5000
        declared = await client.post("/echo", content=b"x" * 5001)
        streamed = await client.post("/echo", content=endless())
        larger = await client.post("/v1/voices/x", content=b"x" * 12_000)
        too_large = await client.post("/v1/voices/x", content=b"x" * 80_000)
    for answer in (declared, streamed, too_large):
        assert answer.status_code == 413 and answer.json()["code"] == "too_large"
        assert answer.headers["connection"] == "close" and "x-request-id" in answer.headers
    assert sent <= 6000 and larger.json()["bytes"] == 12_000


async def test_a_long_header_or_path_is_refused() -> None:
    async with client_of(Guards(max_header_bytes=2000)) as client:
        answers = [await client.get("/echo", headers={"x": "y" * 2000}), await client.get("/echo?" + "y" * 2000)]
        assert (await client.get("/echo", headers={"x": "y" * 1000})).status_code == 200
    assert [answer.status_code for answer in answers] == [431, 431]


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)

    async with client_of(Guards(body_s=0.05)) as client:
        answer = await client.post("/echo", content=stalls())
    assert answer.status_code == 408 and answer.json()["code"] == "request_timeout"


ORIGINS = [
    (None, 200), ("http://server.test", 200), ("https://server.test", 200), ("https://friend.example", 200),
    ("https://evil.example", 403), ("null", 403), ("http://server.test.evil.example", 403),
    ("http://server.test:81", 403), ("http://[", 403),
]  # fmt: skip


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
async def test_a_foreign_page_may_not_speak(origin: str | None, status: int) -> None:
    headers = {"Origin": origin} if origin else {}
    async with client_of(Guards(cors_origins=("https://friend.example",))) as client:
        assert (await client.post("/echo", headers=headers)).status_code == status
        assert (await client.get("/echo", headers=headers)).status_code == 200


HOSTS = [
    ("localhost:8020", 200), ("127.0.0.1:8020", 200), ("[::1]:8020", 200), ("xtts.localhost", 200),
    ("evil.example:8020", 403), ("127.0.0.1.evil.example", 403), ("friend.example", 200),
]  # fmt: skip


@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_a_page_whose_name_was_bound_to_this_machine_may_not_speak(host: str, status: int) -> None:
    headers = {"Origin": f"http://{host}", "Host": host}
    async with client_of(Guards(is_local=True, cors_origins=("http://friend.example",))) as client:
        assert (await client.post("/echo", headers=headers)).status_code == status
        assert (await client.post("/echo", headers={"Host": host})).status_code == 200  # a program
    async with client_of() as client:
        assert (await client.post("/echo", headers=headers)).status_code == 200


async def test_cors_is_off_unless_an_origin_is_listed() -> None:
    ask = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    async with client_of() as client:
        assert not _cors(await client.get("/echo", headers=ask))
        assert not _cors(await client.options("/echo", headers=ask))
    async with client_of(Guards(cors_origins=("https://friend.example",), keys=KEYS)) as client:
        preflight = await client.options("/echo", headers=ask)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
        refused = await client.get("/echo", headers={"Origin": "https://friend.example"})
        assert refused.status_code == 401 and _cors(refused)  # so that the page can read why
        assert not _cors(await client.get("/echo", headers={"Origin": "https://evil.example"}))


def _cors(answer: httpx.Response) -> bool:
    return "access-control-allow-origin" in answer.headers
