"""What this machine does with a model, measured against coqui-tts' own streaming and against fp32.

Read `command.py` for what is measured in which order. Figures are medians; nothing here judges absolute times.
"""

from xtts_rtc.bench.command import run

__all__ = ["run"]
