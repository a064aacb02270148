from fastserve._exchange import Exchange, Served

class WebSocket(Served):
    exchange: Exchange | None
    subprotocols: list[str]
