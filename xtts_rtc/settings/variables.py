"""The flat names of options in the environment: published ones, other programs' ones, and what belongs in no file."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLES: Mapping[str, tuple[str, str]] = {
    "XTTS_MODEL": ("model", "name"),
    "XTTS_DEVICE": ("model", "device"),
    "XTTS_BACKEND": ("model", "backend"),
    "XTTS_PRECISION": ("model", "precision"),
    "XTTS_VOCODER": ("model", "vocoder"),
    "XTTS_HALF": ("model", "half"),
    "XTTS_COMPILE": ("model", "compile"),
    "XTTS_DEEPSPEED": ("model", "deepspeed"),
    "COQUI_TOS_AGREED": ("model", "license_agreed"),
    "XTTS_MAX_STREAMS": ("engine", "max_streams"),
    "XTTS_IDLE_S": ("engine", "idle_s"),
    "XTTS_SPEAKERS_DIR": ("voices", "folder"),
    "XTTS_CACHE_DIR": ("voices", "cache_dir"),
    "XTTS_URL": ("server", "url"),
    "XTTS_API_KEY": ("server", "api_key"),
    "XTTS_API_KEYS_FILE": ("server", "api_keys_file"),
    "XTTS_MAX_STREAMS_PER_KEY": ("server", "max_streams_per_key"),
    "XTTS_GRACE_S": ("server", "grace_s"),
    "XTTS_HEADER_S": ("server", "header_s"),
    "XTTS_BODY_S": ("server", "body_s"),
    "XTTS_MAX_HEADER_BYTES": ("server", "max_header_bytes"),
    "XTTS_MAX_BODY_BYTES": ("server", "max_body_bytes"),
    "XTTS_MAX_UPLOAD_BYTES": ("server", "max_upload_bytes"),
    "XTTS_MAX_CONNECTIONS": ("server", "max_connections"),
    "XTTS_CORS_ORIGINS": ("server", "cors_origins"),
    "XTTS_LOG_FORMAT": ("server", "log_format"),
    "XTTS_OUTPUT_DIR": ("server", "output_dir"),
    "OPENAI_BASE_URL": ("agent", "llm_url"),
    "OPENAI_API_KEY": ("agent", "llm_key"),
    "OPENAI_MODEL": ("agent", "llm_model"),
    "XTTS_MAX_CALLS": ("webrtc", "max_calls"),
    "XTTS_STUN_URL": ("webrtc", "stun_url"),
    "XTTS_TURN_URL": ("webrtc", "turn_url"),
    "XTTS_TURN_USERNAME": ("webrtc", "turn_username"),
    "XTTS_TURN_CREDENTIAL": ("webrtc", "turn_credential"),
}
"""Environment variable to section and name. An empty variable counts as absent."""

__all__ = ["VARIABLES"]
