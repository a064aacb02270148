"""ASGI applications around other applications, by the names that uvicorn's users import them by."""
