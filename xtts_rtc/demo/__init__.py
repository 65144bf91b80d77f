"""What a newcomer sees first. For now: a text spoken into a room of a real LiveKit server, and interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """The command `demo`."""
    if args.self_call:
        from xtts_rtc.demo import self_call

        print("loading the models; then a recorded caller talks with the agent for a minute ...", flush=True)
        print(self_call.perform(args.settings, args.out or Path("out")))
        return 0
    from xtts_rtc.demo.room import TEXT, perform

    chosen = args.settings
    settings = ["--model", chosen.model.name, "--device", chosen.model.device, "--backend", chosen.model.backend]
    settings += ["--speakers-dir", str(chosen.voices.folder), "--max-streams", str(chosen.engine.max_streams)]
    print("starting a LiveKit server, an engine and an agent worker on this machine ...", flush=True)
    print(perform(args.text or TEXT, args.out, settings))
    return 0


__all__ = ["run"]
