"""The command `xtts-rtc`: arguments, exit codes and one-line errors; the work is elsewhere.

Exit codes: 0 fine, 1 failed, 2 wrong usage, 130 interrupted. An option that also stands in `settings` has
the destination ``section.name`` here, so a flag needs one line and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from xtts_rtc.audio.encode import ENCODINGS
from xtts_rtc.audio.resample import RATES_HZ
from xtts_rtc.composition import engine_of, phone_of
from xtts_rtc.errors import ConfigError, InvalidParameter, MissingExtra, XttsRtcError
from xtts_rtc.settings import Settings, load_settings
from xtts_rtc.types import LANGUAGES

_FAILED, _WRONG_USAGE, _INTERRUPTED = 1, 2, 130
AGENT_CONFIG = Path("configs/agent.yaml")
_SERVE_FLAGS: tuple[tuple[str, Callable[[str], object], str, str], ...] = (
    ("api-keys-file", Path, "FILE", "keys with names, a line NAME:KEY for each"),
    ("max-streams-per-key", int, "N", "utterances at once for one key"),
    ("idle-s", float, "S", "end an utterance that gets no text for so long"),
    ("header-s", float, "S", "in which a request's header must have come"),
    ("body-s", float, "S", "in which a request's body must have come"),
    ("max-header-bytes", int, "N", "of a request's header and path"),
    ("max-body-bytes", int, "N", "of a request's body"),
    ("max-upload-bytes", int, "N", "of a voice clip"),
    ("max-connections", int, "N", "open at once"),
    ("cors-origins", str, "A,B", "web pages of other origins that may ask"),
    ("log-format", str, "F", "text or json"),
    ("output-dir", Path, "DIR", "where /tts keeps files that were asked for"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` when None) and return its exit code."""
    args = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does; nothing is left to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:
        if args.is_verbose:
            traceback.print_exc()
        print(f"xtts-rtc: {_one_line(error)}", file=sys.stderr)
        return _WRONG_USAGE if isinstance(error, ConfigError | InvalidParameter) else _FAILED


def _one_line(error: Exception) -> str:
    if isinstance(error, XttsRtcError):
        return " ".join(error.message.split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    return f"unexpected {type(error).__name__}; the same command with --verbose shows where it comes from"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error does; the long usage is for --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(_WRONG_USAGE, f"xtts-rtc: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="xtts-rtc", description="The voice that can be interrupted.")
    parser.add_argument("--version", action="version", version=f"xtts-rtc {metadata.version('xtts-rtc')}")
    common = _common_flags()
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", parents=[common], help="engine server: WebSocket and HTTP"))
    _add_say(commands.add_parser("say", parents=[common], help="one utterance to a file"))
    _add_voices(commands.add_parser("voices", help="list, add, check and remove voices"), common)
    _add_doctor(commands.add_parser("doctor", parents=[common], help="what this installation can do, what to fix"))
    _add_bench(commands.add_parser("bench", parents=[common], help="speed of this machine, in one table"))
    _add_convert(commands.add_parser("convert", parents=[common], help="a published checkpoint to a bundle"))
    if find_spec("xtts_rtc.demo"):
        _add_demo(commands.add_parser("demo", parents=[common], help="talk to a voice agent in your browser"))
    return parser


def _common_flags() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="a YAML file of configs/")
    common.add_argument(
        "--model", dest="model.name", metavar="M", help="embedded, random-tiny, random-full or a folder"
    )
    common.add_argument("--device", dest="model.device", metavar="D", help="auto, cpu, cuda or cuda:N")
    common.add_argument("--backend", dest="model.backend", metavar="B", help="auto, onnx or torch")
    common.add_argument(
        "--url", dest="server.url", metavar="URL", help="speak through this server instead of an engine of our own"
    )
    common.add_argument("--speakers-dir", dest="voices.folder", type=Path, metavar="DIR", help="the folder of voices")
    common.add_argument("--max-streams", dest="engine.max_streams", type=int, metavar="N")
    common.add_argument("--verbose", dest="is_verbose", action="store_true", help="add the traceback to an error")
    return common


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", dest="server.host", metavar="H")
    parser.add_argument("--port", dest="server.port", type=int, metavar="P", help="0 takes a free one")
    for name, kind, metavar, text in _SERVE_FLAGS:
        section = "engine" if name == "idle-s" else "server"
        destination = f"{section}.{name.replace('-', '_')}"
        parser.add_argument(f"--{name}", dest=destination, type=kind, metavar=metavar, help=text)
    parser.add_argument("--grace", dest="server.grace_s", type=float, metavar="S", help="for running speech to end")
    parser.set_defaults(run=_serve)


def _add_say(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="what to say; - reads standard input")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="- is standard output, raw")
    parser.add_argument("--voice", dest="voices.voice", metavar="V")
    parser.add_argument("--language", dest="voices.language", choices=LANGUAGES, metavar="L")
    parser.add_argument("--rate", dest="sample_rate", type=int, choices=RATES_HZ, help="samples per second")
    parser.add_argument("--encoding", choices=ENCODINGS, help="by default what the name of FILE says")
    for name in ("temperature", "repetition-penalty", "top-p", "speed"):
        parser.add_argument(f"--{name}", dest=f"sampling.{name.replace('-', '_')}", type=float, metavar="X")
    for name in ("top-k", "seed"):
        parser.add_argument(f"--{name}", dest=f"sampling.{name.replace('-', '_')}", type=int, metavar="N")
    parser.set_defaults(run=_say)


def _add_voices(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", parents=[common], help="the voices there are").set_defaults(run=_voices_list)
    add = actions.add_parser("add", parents=[common], help="keep a clip as a voice")
    add.add_argument("clip", type=Path, metavar="FILE")
    add.add_argument("--id", dest="voice_id", metavar="ID", help="by default the name of FILE")
    add.set_defaults(run=_voices_add)
    check = actions.add_parser("check", parents=[common], help="what a clip should be and what this one is")
    check.add_argument("clip", type=Path, metavar="FILE")
    check.set_defaults(run=_voices_check)
    remove = actions.add_parser("remove", parents=[common], help="delete a voice's clips")
    remove.add_argument("voice_id", metavar="ID")
    remove.set_defaults(run=_voices_remove)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", dest="is_json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--against", choices=["stock"], help="also run coqui-tts' own streaming on the same weights")
    parser.add_argument(
        "--rows", choices=["auto", "all"], default="auto", help="the default configuration, or all that run here"
    )
    parser.add_argument("--streams", type=_counts, default="1", metavar="1,2,4", help="how many at once")
    parser.add_argument("--runs", type=_count, default=5, metavar="N", help="runs of each side, in turn; medians count")
    parser.add_argument(
        "--start-buffer", dest="start_buffer_s", type=_seconds, default=0.4, metavar="S",
        help="what paced listeners wait after their first chunk",
    )  # fmt: skip
    parser.add_argument(
        "--skip", action="append", metavar="PART",
        help="leave out one of streams, newcomer, cancel, length, steps, parity, memory; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", dest="json_file", type=Path, metavar="FILE")
    parser.add_argument("--chart", type=Path, metavar="FILE.png")
    parser.add_argument("--docs", type=Path, metavar="DIR", help="write benchmarks.md and benchmarks.png there")
    parser.set_defaults(run=_in_module("xtts_rtc.bench"))


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="config.json, vocab.json and the weights")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--precision", default="int8", metavar="P", help="int8 when nothing is said")
    parser.set_defaults(run=_convert)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = f"Reads {AGENT_CONFIG} where there is one and --config names no other, as agent.py does."
    parser.add_argument("--host", dest="webrtc.host", metavar="H", help="127.0.0.1, for this machine only")
    parser.add_argument("--port", dest="webrtc.port", type=int, metavar="P", help="0 takes a free one")
    parser.add_argument("--max-calls", dest="webrtc.max_calls", type=int, metavar="N", help="at once")
    for name in ("cert", "key"):
        help = "PEM, for https: needed for a microphone on other machines"
        parser.add_argument(f"--tls-{name}", dest=f"webrtc.tls_{name}", type=Path, metavar="FILE", help=help)
    parser.add_argument("--self-call", action="store_true", help="a recorded caller calls the agent and measures it")
    parser.add_argument("--transport", choices=("webrtc", "livekit"), help="of the self-call: direct, or in a room")
    parser.add_argument("--room", action="store_true", help="speak a text in a LiveKit room through worker and server")
    parser.add_argument("--text", help="what to say in the room")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for what was recorded and measured")
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    if args.config is None and AGENT_CONFIG.is_file():
        args.config = AGENT_CONFIG
    return _in_module("xtts_rtc.demo")(args)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to 1024")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 10:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds from 0 to 10")
    return seconds


def _counts(text: str) -> str:
    """The text itself, once every number in it is one."""
    return ",".join(str(_count(number)) for number in text.split(","))


def _in_module(name: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        args.settings = _settings(args)
        result: int = import_module(name).run(args)
        return result

    return run


def _serve(args: argparse.Namespace) -> int:
    _need("uvicorn", "server")
    from xtts_rtc import app
    from xtts_rtc.guard.logs import configure

    settings = _settings(args)
    server = settings.server
    if server.url:
        raise ConfigError("serve runs an engine of its own; take the url (XTTS_URL, --url) away")
    guards = app.guards_of(settings)
    configure(server.log_format)
    serving = app.serve(
        lambda metrics: engine_of(settings, metrics=metrics),
        host=server.host,
        port=server.port,
        guards=guards,
        output_dir=server.output_dir,
        grace_s=server.grace_s,
        phone=phone_of(settings),
    )
    if not asyncio.run(serving):
        os._exit(_INTERRUPTED)
    return 0


def _say(args: argparse.Namespace) -> int:
    from xtts_rtc.say import ProgressBar, Spoken, choose_encoding, say

    settings = _settings(args)
    encoding = choose_encoding(args.encoding, args.out)
    text = sys.stdin.read() if args.text == "-" else args.text
    bar = ProgressBar(sys.stderr)

    engine = engine_of(settings)

    async def speak() -> Spoken:
        async with engine:
            return await say(
                engine,
                text,
                out=args.out,
                encoding=encoding,
                voice=settings.voices.voice,
                language=settings.voices.language,
                sampling=settings.sampling.params(),
                sample_rate=args.sample_rate,
                on_progress=bar.show,
            )

    try:
        spoken = asyncio.run(speak())
    finally:
        bar.clear()
    print(f"{args.out}: {spoken}", file=sys.stderr)
    return 0


def _voices_list(args: argparse.Namespace) -> int:
    from xtts_rtc.voices.store import VoiceStore

    settings = _settings(args)
    if settings.server.url:
        print(*asyncio.run(_remote_voices(settings)), sep="\n")
        return 0
    store = VoiceStore(settings.voices.folder)
    broken = store.report()
    refused = {voice.name for voice in broken}
    print(*(voice_id for voice_id in store.ids() if voice_id not in refused), sep="\n")
    for voice in broken:
        print(f"xtts-rtc: {voice.name}: {voice.reason}", file=sys.stderr)
    return _FAILED if broken else 0


async def _remote_voices(settings: Settings) -> list[str]:
    async with engine_of(settings) as engine:
        return await engine.voices()


def _voices_add(args: argparse.Namespace) -> int:
    from xtts_rtc.voices.store import VoiceStore

    print(VoiceStore(_settings(args).voices.folder).add(args.voice_id or args.clip.stem, args.clip))
    _voices_check(args)
    return 0


def _voices_check(args: argparse.Namespace) -> int:
    from xtts_rtc.voices.check import check_clip
    from xtts_rtc.voices.clip import read_clip

    report = check_clip(read_clip(args.clip))
    print(report)
    return 0 if report.is_good else _FAILED


def _voices_remove(args: argparse.Namespace) -> int:
    from xtts_rtc.voices.store import VoiceStore

    VoiceStore(_settings(args).voices.folder).remove(args.voice_id)
    return 0


def _convert(args: argparse.Namespace) -> int:
    _need("onnx", "cpu")
    from xtts_rtc.engine.conversion import convert_checkpoint

    def show(share: float, what: str) -> None:
        print(f"{share:4.0%} {what}", file=sys.stderr)

    manifest = convert_checkpoint(args.folder, args.out, precision=args.precision, progress=show)
    print(f"{args.out}: {manifest.precision}, under {manifest.licence}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from xtts_rtc import doctor

    try:
        findings = doctor.examine(_settings(args, must_be_possible=False))
    except XttsRtcError as error:
        findings = doctor.examine(None, error)
    print(doctor.as_json(findings) if args.is_json else doctor.as_table(findings))
    return 0 if doctor.is_healthy(findings) else _FAILED


def _settings(args: argparse.Namespace, *, must_be_possible: bool = True) -> Settings:
    """The flags that were given, over everything else."""
    given: dict[str, dict[str, object]] = {}
    for destination, value in vars(args).items():
        section, dot, name = destination.partition(".")
        if dot and value is not None:
            given.setdefault(section, {})[name] = value
    return load_settings(given, config=args.config, must_be_possible=must_be_possible)


def _need(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise MissingExtra(f"{module} is not installed: pip install 'xtts-rtc[{extra}]'")


__all__ = ["AGENT_CONFIG", "main"]

if __name__ == "__main__":
    sys.exit(main())
