"""Gateways: exchanges to applications. ASGI here; each gateway is a Handler."""
