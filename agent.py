"""A LiveKit worker that speaks: it greets, says what is written to it, and stops when the next line comes.

    python agent.py dev | start | console | connect | download-files

Reads configs/agent.yaml, `.env` and the environment: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET for
the rooms, XTTS_URL and XTTS_API_KEY for an engine server. Without XTTS_URL each job loads its own engine.
"""

from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli
from livekit.agents.voice.room_io import AudioOutputOptions, RoomOptions, TextInputEvent, TextInputOptions

from livekit.plugins import xtts
from xtts_rtc.composition import engine_of
from xtts_rtc.server_status import server_status
from xtts_rtc.settings import Settings, load_settings

GREETING = "Hello! Write to me and I will say it. Write again and I will stop."


def settings() -> Settings:
    return load_settings(config=Path(__file__).with_name("configs") / "agent.yaml")


def prepare(process: JobProcess) -> None:
    """Before a job's process takes a room: connect to the engine server, or load the engine here."""
    chosen = settings()
    engine = process.userdata["engine"] = engine_of(chosen)
    voices = chosen.voices
    options = chosen.sampling.model_dump()
    process.userdata["voice"] = xtts.TTS(voice=voices.voice, language=voices.language, engine=engine, **options)


async def say_it(session: AgentSession[None], line: TextInputEvent) -> None:
    await session.interrupt()
    session.say(line.text)


async def enter(job: JobContext) -> None:
    """One room."""
    voice = job.proc.userdata["voice"]
    job.add_shutdown_callback(voice.aclose)
    job.add_shutdown_callback(job.proc.userdata["engine"].aclose)
    session: AgentSession[None] = AgentSession(tts=voice, vad=None, turn_handling={"turn_detection": None})
    # The track is 48 kHz; at LiveKit's default of 24 kHz the voice would be resampled down and up again.
    sound = AudioOutputOptions(sample_rate=voice.sample_rate)
    options = RoomOptions(audio_output=sound, text_input=TextInputOptions(text_input_cb=say_it))
    await session.start(Agent(instructions=""), room=job.room, room_options=options)
    await session.say(GREETING)


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
    cli.run_app(server)
