"""The echo without ASGI: what a WebSocket library in Cython costs when the application is called back directly.

python -m bench.load.picows_echo
"""

import asyncio

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):  # type: ignore[misc]
    """Sends every message back as what it is."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame; a message here is one."""
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def listener(request: WSUpgradeRequest) -> Echo:
    """One for each connection."""
    return Echo()


async def main() -> None:
    """Serve until the process is ended."""
    server = await ws_create_server(listener, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"picows running on http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
