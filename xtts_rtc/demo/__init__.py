"""What a newcomer sees first. For now: a text spoken into a room of a real LiveKit server, and interrupted."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """The command `demo`."""
    from xtts_rtc.demo.room import TEXT, perform

    chosen = args.settings
    settings = ["--model", chosen.model.name, "--device", chosen.model.device, "--backend", chosen.model.backend]
    settings += ["--speakers-dir", str(chosen.voices.folder), "--max-streams", str(chosen.engine.max_streams)]
    print("starting a LiveKit server, an engine and an agent worker on this machine ...", flush=True)
    print(perform(args.text or TEXT, args.out, settings))
    return 0


__all__ = ["run"]
