"""Import strings, under the name that programs know them by."""

from fastserve.server.importer import ImportFromStringError, import_from_string

__all__ = ["ImportFromStringError", "import_from_string"]
