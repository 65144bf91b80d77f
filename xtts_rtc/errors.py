"""Everything this package raises on purpose.

    XttsRtcError
    ├── InvalidRequest            what the caller sent cannot be done; sending it again will not help
    │   ├── InvalidText               empty where it may not be, or over the limit of one utterance
    │   ├── InvalidParameter          a sampling parameter, rate or encoding out of its range
    │   ├── UnknownLanguage           not one of the model's languages, or its extra is not installed
    │   ├── InputTimeout              the writer gave no text, or the reader took no audio, for too long
    │   ├── RequestTimeout            the request itself came too slowly
    │   ├── TooLarge                  a body or a clip over its limit
    │   ├── UnsupportedMedia          a body of another content type than the route takes
    │   ├── Forbidden                 not allowed here, with any key
    │   ├── Unauthorized              the server wants a key, or another one
    │   └── NotAcceptable             no format that was asked for can be made
    ├── VoiceError
    │   ├── InvalidVoiceId            not [A-Za-z0-9_-]{1,64}
    │   ├── VoiceNotFound             no such voice
    │   ├── VoiceTaken                another voice has this id
    │   ├── StorageFailed             the folder of voices is full, read-only or unreadable
    │   └── BadClip                   a reference clip that cannot be used
    ├── SetupError                what the operator asked for cannot be done here; raised at start
    │   ├── MissingExtra              a package is not installed; says which extra brings it
    │   ├── CheckpointError           a model folder that is incomplete, truncated or not XTTS
    │   └── ConfigError               an unknown key or a value out of range
    └── EngineError
        ├── EngineFull                no slot came free in time (retryable)
        ├── EngineUnavailable         not started, shutting down, dead, or out of reach (retryable)
        ├── GenerationFailed          one stream failed inside the engine; the others go on
        └── ProtocolError             the other side of a connection broke the protocol

`code` is the stable name that goes over the wire, `status` the HTTP status, `retryable` whether the
same request may succeed later. Messages never hold spoken text or keys.
"""

from __future__ import annotations


class XttsRtcError(Exception):
    """Root of the tree: one ``except`` catches all of it."""

    code = "error"
    status = 500
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(XttsRtcError):
    """The request cannot be served as it is."""

    code = "invalid_request"
    status = 400


class InvalidText(InvalidRequest):
    """The text is missing or over a limit."""

    code = "invalid_text"


class InvalidParameter(InvalidRequest):
    """A parameter is out of its range."""

    code = "invalid_parameter"
    status = 422


class UnknownLanguage(InvalidRequest):
    """The language is not one the model speaks here."""

    code = "unknown_language"
    status = 422


class InputTimeout(InvalidRequest):
    """An open utterance that nobody fed or heard was ended."""

    code = "input_timeout"
    status = 408


class RequestTimeout(InvalidRequest):
    """The request came too slowly."""

    code = "request_timeout"
    status = 408


class TooLarge(InvalidRequest):
    """The body is over its limit."""

    code = "too_large"
    status = 413


class UnsupportedMedia(InvalidRequest):
    """The body's content type is not one the route takes."""

    code = "unsupported_media"
    status = 415


class Forbidden(InvalidRequest):
    """The server does not allow this."""

    code = "forbidden"
    status = 403


class Unauthorized(InvalidRequest):
    """The server refused the key."""

    code = "unauthorized"
    status = 401


class NotAcceptable(InvalidRequest):
    """None of the formats that the client takes can be made."""

    code = "not_acceptable"
    status = 406


class VoiceError(XttsRtcError):
    """Something about a voice."""

    code = "voice_error"
    status = 400


class InvalidVoiceId(VoiceError):
    """The id could not be a voice's name."""

    code = "invalid_voice_id"


class VoiceNotFound(VoiceError):
    """No voice has this id."""

    code = "voice_not_found"
    status = 404


class VoiceTaken(VoiceError):
    """The id belongs to a voice already."""

    code = "voice_taken"
    status = 409


class StorageFailed(VoiceError):
    """The folder of voices cannot be written or read."""

    code = "storage_failed"
    status = 507


class BadClip(VoiceError):
    """A reference clip that cannot be read or used."""

    code = "bad_clip"
    status = 422


class SetupError(XttsRtcError):
    """This installation cannot do what it was asked to do at start."""

    code = "setup_error"
    status = 503


class MissingExtra(SetupError):
    """A package is missing; the message names the extra to install."""

    code = "missing_extra"


class CheckpointError(SetupError):
    """A model folder is incomplete, damaged or of another kind."""

    code = "bad_checkpoint"


class ConfigError(SetupError):
    """An unknown setting or a value out of range."""

    code = "bad_config"


class EngineError(XttsRtcError):
    """The engine could not finish a stream."""

    code = "engine_error"


class EngineFull(EngineError):
    """All streams are taken and none came free in time."""

    code = "engine_full"
    status = 429
    retryable = True


class EngineUnavailable(EngineError):
    """There is no engine to speak with at present."""

    code = "engine_unavailable"
    status = 503
    retryable = True


class GenerationFailed(EngineError):
    """This stream failed inside the engine."""

    code = "generation_failed"


class ProtocolError(EngineError):
    """A peer sent what the protocol does not allow."""

    code = "protocol_error"
    status = 400


def error_of_code(code: str, message: str, *, is_retryable: bool | None = None) -> XttsRtcError:
    """What another process named by its `code`; an EngineError for a code that is not known here."""
    known = {
        kind.code: kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, XttsRtcError)
    }
    error = known.get(code, EngineError)(message)
    error.retryable = error.retryable if is_retryable is None else is_retryable
    return error


__all__ = [
    "BadClip",
    "CheckpointError",
    "ConfigError",
    "EngineError",
    "EngineFull",
    "EngineUnavailable",
    "Forbidden",
    "GenerationFailed",
    "InputTimeout",
    "InvalidParameter",
    "InvalidRequest",
    "InvalidText",
    "InvalidVoiceId",
    "MissingExtra",
    "NotAcceptable",
    "ProtocolError",
    "RequestTimeout",
    "SetupError",
    "StorageFailed",
    "TooLarge",
    "Unauthorized",
    "UnknownLanguage",
    "UnsupportedMedia",
    "VoiceError",
    "VoiceNotFound",
    "VoiceTaken",
    "XttsRtcError",
    "error_of_code",
]
