"""The whole recipe, stage by stage. What is done is not done again; stop it with Ctrl-C or kill, start it again.

python -m training.run [--config training/voice.yaml] [--processes 2] [--out build/voice]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from training import config as configuration
from training.config import DEFAULT, Config

Command = list[str]


def stages(config: Config, processes: int, out: Path) -> list[list[list[Command]]]:
    """Stages one after the other; of a stage the lanes run at the same time, the commands of a lane in order."""
    ground_truth = [["vocoder", "ground_truth"]] if config.vocoder.ground_truth.steps else []
    adversarial = [[[["vocoder", "adversarial"]]]] if config.vocoder.adversarial.steps else []
    return [
        [[["reading"]]],
        [[["sound", str(part), str(processes)]] for part in range(processes)],
        [[["codes"]]],
        [[["gpt"]], [["speaker"], *ground_truth]],
        [[["latents"]]],
        [[["vocoder", "latents"]]],
        *adversarial,
        [[["curves"]]],
        [[["export", str(out)]]],
        [[["evaluate", str(out), "--out", str(out / "report.json")]]],
    ]


def run_stage(lanes: list[list[Command]], environment: dict[str, str]) -> None:
    """Raises SystemExit with the code of the first command that fails; the others are ended then."""
    waiting = [list(lane) for lane in lanes]
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        while any(waiting) or running:
            for index, lane in enumerate(waiting):
                if index not in running and lane:
                    module, *arguments = lane.pop(0)
                    command = [sys.executable, "-m", f"training.{module}", *arguments]
                    running[index] = subprocess.Popen(command, env=environment)
            done, status = os.waitpid(-1, 0)
            index = next(i for i, process in running.items() if process.pid == done)
            running.pop(index).returncode = code = os.waitstatus_to_exitcode(status)
            if code:
                raise SystemExit(code)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("build/voice"))
    options = parser.parse_args()
    config = configuration.load(options.config)
    config.folder.mkdir(parents=True, exist_ok=True)
    threads = str(config.threads)
    environment = {
        **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "XTTS_TRAINING": str(options.config),
    }  # fmt: skip
    for lanes in stages(config, options.processes, options.out):
        run_stage(lanes, environment)


if __name__ == "__main__":
    main()
