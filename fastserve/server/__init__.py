"""One worker process: its lifecycle, event loop, application import, logs and drain."""
