"""Closes a connection so that the other end does not wait for more."""

from __future__ import annotations

import asyncio
import socket
import struct

_NO_SECONDS = struct.pack("ii", 1, 0)
"""The value of SO_LINGER by which closing a connection resets it: linger for no seconds."""


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once. What is not sent yet is dropped, also by the system, and the other end sees
    a reset.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_SECONDS)
    transport.abort()
