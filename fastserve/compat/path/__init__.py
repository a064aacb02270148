"""A directory for PYTHONPATH: a `uvicorn` that is fastserve."""
