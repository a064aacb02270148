"""Programs that start workers themselves do it through these; what does the work is in `fastserve.supervisor`."""

from fastserve.supervisors.multiprocess import ChangeReload, Multiprocess

__all__ = ["ChangeReload", "Multiprocess"]
