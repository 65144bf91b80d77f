"""`xtts-rtc demo`, as a newcomer starts it: the address that answers, the one that is taken, https, and Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

from tests.fakes import tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.app import listen
from xtts_rtc.demo import hosting
from xtts_rtc.demo.hosting import _host, addresses, check_tls, listen_for
from xtts_rtc.demo.phone import phoning
from xtts_rtc.demo.self_call import offer_to
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import ConfigError
from xtts_rtc.metrics import Metrics
from xtts_rtc.settings import Settings, WebRtcSettings, load_settings

ROOT = Path(__file__).parents[2]
START_S = 60.0
CLOSE = {"Connection": "close"}
"""A client that keeps a connection and does not answer its end is waited for, five seconds over TLS."""

OFFER = {"content": b"v=0", "headers": {"Content-Type": "application/sdp", **CLOSE}}


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed one for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return files


@contextlib.contextmanager
def demo(log: Path, *flags: str, until: str = "talk to it at ") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running `xtts-rtc demo` on a free port, and the word that it has printed behind `until`: the address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XTTS_", "OPENAI_"))}
    environment["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    command = [sys.executable, "-m", "xtts_rtc.cli", "demo", "--port", "0", *flags]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_S
        while until not in (said := log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.05)
        yield process, said.partition(until)[2].split(maxsplit=1)[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.net
async def test_the_printed_address_answers_takes_a_call_and_ends_at_ctrl_c(
    tmp_path: Path, certificate: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "demo.log"
    flags = ("--model", "random-tiny", "--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]))
    began = time.monotonic()
    with demo(log, *flags) as (process, address):
        up_s = time.monotonic() - began
        assert address.startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(base_url=address, verify=False, headers=CLOSE) as http:
            page = await http.get("/")
            async with phoning(partial(offer_to, http)) as phone:
                ready = await phone.until_event("ready")
                await phone.until_loud(0.0)
                pressed = time.monotonic()
                process.send_signal(signal.SIGINT)
                code = await asyncio.to_thread(process.wait, 20)
                down_s = time.monotonic() - pressed
    with capsys.disabled():
        print(f"\ndemo: page after {up_s:.1f} s, Ctrl+C with a call on the line to the end {down_s:.1f} s")
    assert (page.status_code, code) == (200, 0), log.read_text()
    assert ready["model"] == "gpt-4.1-mini"
    assert "Traceback" not in log.read_text() and "rror" not in log.read_text(), log.read_text()
    assert down_s < 8


@pytest.mark.net
def test_ctrl_c_while_the_models_are_loaded_ends_it_at_once(tmp_path: Path) -> None:
    """It was an exception in the middle of a library, and the process hung."""
    with demo(tmp_path / "demo.log", until="loading the ") as (process, _):
        time.sleep(0.3)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
    assert code == 130
    assert time.monotonic() - pressed < 3


@pytest.mark.net
async def test_the_page_is_there_while_the_models_are_loaded_and_calls_are_taken_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A browser that came too early waited without a word."""
    may_load = threading.Event()
    said: list[str] = []

    def load(settings: Settings, *, metrics: Metrics | None = None) -> Engine:
        assert may_load.wait(20)
        return tone_engine(ToneBackend())

    async def nothing(*values: object, **named: object) -> None: ...

    def kit_of(settings: Settings, engine: Engine, num_calls: int) -> object:
        return SimpleNamespace(engine=engine, brain=SimpleNamespace(name="none", is_packaged=False), aclose=nothing)

    for name, stand_in in (("engine_of", load), ("load_kit", kit_of), ("rehearse", nothing), ("converse", nothing)):
        monkeypatch.setattr(hosting, name, stand_in)
    settings = load_settings(environ={}, dotenv=None)
    with listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = asyncio.create_task(_host(settings, listener, said.append))
        async with httpx.AsyncClient(base_url=address, headers=CLOSE, timeout=10) as http:
            pages = [(await http.get(path)).status_code for path in ("/", "/call/main.mjs", "/healthz")]
            early = [await http.get("/readyz"), await http.get("/call"), await http.post("/call", **OFFER)]
            assert said == ["loading the models ..."]
            may_load.set()
            async with asyncio.timeout(10):
                while len(said) < 3:
                    await asyncio.sleep(0.01)
            late = [await http.get("/readyz"), await http.get("/call"), await http.post("/call", **OFFER)]
        signal.raise_signal(signal.SIGINT)
        await running
    assert pages == [200, 200, 200]
    assert [answer.status_code for answer in early] == [503, 503, 503]
    assert all("loading" in answer.text for answer in early[:2])
    assert [answer.status_code for answer in late] == [200, 200, 400]  # it is no offer
    assert said[2].startswith("talk to it at ")


@pytest.mark.net
async def test_a_server_that_does_not_come_up_is_an_error_before_anything_is_loaded(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*values: object, **named: object) -> Engine:
        raise AssertionError("it went on")

    monkeypatch.setattr(hosting, "engine_of", load)
    files = {"tls_cert": certificate[0], "tls_key": certificate[1]}
    settings = load_settings({"webrtc": files}, environ={}, dotenv=None)
    certificate[0].unlink()  # after it was checked
    with listen("127.0.0.1", 0) as listener, pytest.raises(FileNotFoundError):
        async with asyncio.timeout(5):
            await _host(settings, listener, print)


def test_a_default_port_that_is_taken_gives_way_and_says_so() -> None:
    said: list[str] = []
    with listen("127.0.0.1", 0) as other:
        taken = other.getsockname()[1]
        webrtc = WebRtcSettings.model_construct(_fields_set=set(), port=taken)
        with listen_for(webrtc, said.append) as listener:
            assert listener.getsockname()[1] not in (0, taken)
    assert said == [f"port {taken} is taken: another one is used"]


def test_a_port_that_was_asked_for_and_is_taken_is_one_error() -> None:
    with listen("127.0.0.1", 0) as other, pytest.raises(ConfigError, match="is taken; name another") as caught:
        listen_for(WebRtcSettings(port=other.getsockname()[1]), lambda line: None)
    assert "\n" not in caught.value.message


def test_an_address_of_another_machine_is_one_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1 port 8021"):
        listen_for(WebRtcSettings(host="192.0.2.1"), lambda line: None)


def test_tls_files_that_do_not_work_are_one_error_before_anything_is_loaded(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    check_tls(WebRtcSettings())
    check_tls(WebRtcSettings(tls_cert=certificate[0], tls_key=certificate[1]))
    (tmp_path / "text.pem").write_text("no key")
    for cert, key, why in (
        (tmp_path / "absent.pem", certificate[1], "absent.pem is not there"),
        (certificate[0], tmp_path / "text.pem", "PEM"),
        (certificate[1], certificate[0], "PEM"),
    ):
        with pytest.raises(ConfigError, match=why) as caught:
            check_tls(WebRtcSettings(tls_cert=cert, tls_key=key))
        assert "\n" not in caught.value.message


def test_addresses_are_such_as_a_browser_takes() -> None:
    assert addresses(WebRtcSettings(), 8021) == ["http://127.0.0.1:8021"]
    assert addresses(WebRtcSettings(host="::1"), 1) == ["http://[::1]:1"]
    everywhere = addresses(WebRtcSettings(host="0.0.0.0", tls_cert=Path("a"), tls_key=Path("b")), 1)
    assert everywhere[0] == "https://127.0.0.1:1"
    assert all(not host.startswith("https://0.") for host in everywhere)
    for address in everywhere:
        socket.inet_aton(address.removeprefix("https://").removesuffix(":1"))
