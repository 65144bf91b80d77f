"""What a newcomer sees first: a voice agent to talk with in a browser, and a caller that measures it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from xtts_rtc.errors import ConfigError

DEFAULT_OUT = Path("out")


def run(args: argparse.Namespace) -> int:
    """The command `demo`."""
    _need_sense(args)
    if not args.is_verbose:
        logging.getLogger("livekit").setLevel(logging.ERROR)  # a hang-up in mid-sentence is nothing to warn of
    if args.self_call:
        from xtts_rtc.demo import self_call

        print("loading the models; then a recorded caller talks with the agent for a minute ...", flush=True)
        print(self_call.perform(args.settings, args.out or DEFAULT_OUT, args.transport or "webrtc"))
    elif args.room:
        _perform_in_a_room(args)
    else:
        from xtts_rtc.demo import hosting

        hosting.perform(args.settings)
    return 0


def _need_sense(args: argparse.Namespace) -> None:
    """Raises ConfigError for a flag that would be passed over."""
    if args.self_call and args.room:
        raise ConfigError("--self-call and --room are two things; choose one")
    is_measured = args.self_call or args.room
    if (args.text and not args.room) or (args.transport and not args.self_call) or (args.out and not is_measured):
        raise ConfigError("--text goes with --room, --transport with --self-call, and --out with either")


def _perform_in_a_room(args: argparse.Namespace) -> None:
    from xtts_rtc.demo.room import TEXT, perform

    chosen = args.settings
    settings = ["--model", chosen.model.name, "--device", chosen.model.device, "--backend", chosen.model.backend]
    settings += ["--speakers-dir", str(chosen.voices.folder), "--max-streams", str(chosen.engine.max_streams)]
    print("starting a LiveKit server, an engine and an agent worker on this machine ...", flush=True)
    print(perform(args.text or TEXT, args.out, settings))


__all__ = ["DEFAULT_OUT", "run"]
