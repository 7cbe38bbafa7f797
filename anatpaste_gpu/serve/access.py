"""Who may ask: anybody on the machine itself, beyond it whoever knows the token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import socket
from pathlib import Path

from anatpaste_gpu.serve.limits import Refusal

#: The environment variable that may hold the token.
TOKEN_VARIABLE = "ANATPASTE_TOKEN"
LEAST_LETTERS = 16
_SCHEME = b"bearer "


class Token:
    """A secret that requests must know.

    Args:
        secret: of at least `LEAST_LETTERS` printable ASCII letters, without a space.

    Raises:
        ValueError: it is shorter or holds others; the sentence does not repeat it.
    """

    def __init__(self, secret: str) -> None:
        plain = secret.isascii() and secret.isprintable() and " " not in secret
        if len(secret) < LEAST_LETTERS or not plain:
            raise ValueError(
                f"a token must have at least {LEAST_LETTERS} printable ASCII letters and no space; "
                "python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one."
            )
        self._digest = _digest(secret.encode("ascii"))

    def check(self, header: bytes | None) -> None:
        """Raises a Refusal, 401, unless the header Authorization is `Bearer TOKEN`; in constant time."""
        given = b""
        if header is not None and header[: len(_SCHEME)].lower() == _SCHEME:
            given = header[len(_SCHEME) :].strip()
        if not hmac.compare_digest(_digest(given), self._digest):
            raise Refusal(
                401, "unauthorised", "This service wants its token, in a header Authorization: Bearer TOKEN."
            )


def read_token(file: Path | None, variable: str | None) -> Token | None:
    """The token of a file, or of the environment where no file is named; None where there is neither.

    Raises:
        ValueError: as `Token` does.
        OSError: the file cannot be read; one sentence.
    """
    if file is not None:
        try:
            return Token(file.read_text(encoding="utf-8", errors="replace").strip())
        except OSError as error:
            raise OSError(f"{file}: the token cannot be read ({error.strerror}).") from error
    return Token(variable) if variable else None


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine.

    Raises:
        ValueError: the port is out of range.
        OSError: the host is unknown, or the address cannot be had; one sentence.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be in 0..65535, got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        # Python adds the address to what the system says of it.
        is_systems = error.errno is not None and not isinstance(error, socket.gaierror)
        reason = os.strerror(error.errno or 0) if is_systems else error.strerror
        raise OSError(f"{host} port {port} cannot be listened at: {reason}.") from error


def is_loopback(listening: socket.socket) -> bool:
    """Whether a socket can be reached from this machine alone."""
    return ipaddress.ip_address(listening.getsockname()[0].split("%")[0]).is_loopback


def _digest(secret: bytes) -> bytes:
    # Of one length whatever came, so that a comparison tells nothing of the token's.
    return hashlib.sha256(secret).digest()
