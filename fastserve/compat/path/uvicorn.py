"""The `uvicorn` that a Python program finds whose PYTHONPATH names this directory: it installs ours and gives way."""

import importlib
import sys

from fastserve.compat import install

if __name__ == "__main__":
    install()
    importlib.import_module("fastserve.cli").main(prog_name="uvicorn")
else:
    install()
    del sys.modules[__name__]
    importlib.import_module(__name__)
