"""The formatters under the name that programs and logging configurations know them by."""

from fastserve.server.logs import TRACE_LOG_LEVEL, AccessFormatter, ColourizedFormatter, DefaultFormatter

__all__ = ["TRACE_LOG_LEVEL", "AccessFormatter", "ColourizedFormatter", "DefaultFormatter"]
