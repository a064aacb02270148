"""What programs import from uvicorn's protocols; fastserve's own are in `fastserve.protocol`."""
