"""What a newcomer sees first. For now: a text spoken into a room of a real LiveKit server, and interrupted."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """The command `demo`."""
    from xtts_rtc.demo.room import TEXT, perform

    model = args.settings.model
    settings = ["--model", model.name, "--device", model.device, "--backend", model.backend]
    print("starting a LiveKit server, an engine and an agent worker on this machine ...", flush=True)
    print(perform(args.text or TEXT, args.out, settings))
    return 0


__all__ = ["run"]
