"""A LiveKit worker: a voice agent that listens, answers, and stops when somebody speaks up.

    python agent.py dev | start | console | connect | download-files

Reads configs/agent.yaml, `.env` and the environment: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET for
the rooms, XTTS_URL and XTTS_API_KEY for an engine server, OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL
for the language model. Without XTTS_URL each job loads its own engine, without OPENAI_* a small model.
"""

import sys
from pathlib import Path

from livekit.agents import AgentServer, JobContext, JobProcess, cli
from livekit.agents.voice.room_io import AudioOutputOptions, RoomOptions

from xtts_rtc.composition import engine_of
from xtts_rtc.demo.session import ROOM_LEAD_S, Conversation, Kit, build_session, load_kit
from xtts_rtc.server_status import server_status
from xtts_rtc.settings import Settings, load_settings

TRACK_HZ = 48_000
"""At LiveKit's default of 24 kHz the voice would be resampled down and up again."""


def settings() -> Settings:
    return load_settings(config=Path(__file__).with_name("configs") / "agent.yaml")


def prepare(process: JobProcess) -> None:
    """Before a job's process takes a room: load the models, and the engine or a connection to its server."""
    chosen = settings()
    process.userdata["kit"] = load_kit(chosen, engine_of(chosen), num_calls=1)


async def enter(job: JobContext) -> None:
    """One room."""
    kit: Kit = job.proc.userdata["kit"]
    job.add_shutdown_callback(kit.engine.aclose)
    job.add_shutdown_callback(kit.aclose)
    options = RoomOptions(audio_output=AudioOutputOptions(sample_rate=TRACK_HZ))
    session = build_session(kit)
    agent = Conversation(kit.voices.language, instructions=kit.agent.instructions, lead_s=ROOM_LEAD_S)
    await session.start(agent, room=job.room, room_options=options)
    if kit.agent.greeting:
        await session.say(kit.agent.greeting)


def engine_load() -> float:
    """What dispatch goes by: how full the engine server is, 0 to 1."""
    url = settings().server.url
    assert url is not None
    return server_status(url).load


server = AgentServer(setup_fnc=prepare, initialize_process_timeout=60.0)
server.rtc_session(enter)

if __name__ == "__main__":
    if settings().server.url:
        server.load_fnc = engine_load
    try:
        cli.run_app(server)
    except OSError as error:  # what sounddevice says, also to `console --text`, under a page of traceback
        if "PortAudio" not in str(error):
            raise
        sys.exit(
            "agent.py: the console needs PortAudio: apt-get install libportaudio2; or talk in a browser: xtts-rtc demo"
        )
