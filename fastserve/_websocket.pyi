from fastserve._exchange import Exchange

class WebSocket:
    exchange: Exchange
    subprotocols: list[str]
