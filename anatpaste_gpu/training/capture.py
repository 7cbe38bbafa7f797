"""Whether an error within the capture of a CUDA graph says that the work cannot be captured, or is wrong."""

from __future__ import annotations

#: cudaErrorStreamCaptureUnsupported to cudaErrorStreamCaptureWrongThread.
_CODES = range(900, 909)
# What the runtime says for them, of which our own kernels' errors have the words and no code.
_RUNTIME = (
    "operation not permitted when stream is capturing",
    "operation failed due to a previous error during capture",
    "operation would result in a merge of separate capture sequences",
    "capture was not ended in the same stream as it began",
    "capturing stream has unjoined work",
    "dependency created on uncaptured work in another stream",
    "operation would make the legacy stream depend on a capturing blocking stream",
    "operation not permitted on an event last recorded in a capturing stream",
    "attempt to terminate a thread-local capture sequence from another thread",
)
# What torch says of its own calls, before it asks the runtime.
_TORCH = "during CUDA graph capture"


def why_not_captured(error: BaseException) -> str | None:
    """Why work cannot be captured, in the words of the error's first line.

    Args:
        error: the first one that the work, or else the capture, raised.

    Returns:
        None where the error is of another kind: the work would fail in the ordinary way too, or memory is
        used up.
    """
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    forbidden = getattr(error, "error_code", None) in _CODES
    if not forbidden and not any(words in text for words in (*_RUNTIME, _TORCH)):
        return None
    return text.partition("\n")[0]
