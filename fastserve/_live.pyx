"""Counts of live objects, kept by debug builds so that every test can end by asking for zero.

An object is counted from the moment it owns something (memory, a socket, a request) until it has let go.
"""

cdef long _counts[<int> LIVE_KINDS]
cdef tuple _NAMES = ("buffers", "connections", "exchanges", "responders", "tasks")


cdef void count_live(LiveKind kind, int change) noexcept:
    _counts[<int> kind] += change


def enabled() -> bool:
    """Tell whether this build counts (FASTSERVE_BUILD=debug or asan)."""
    return bool(COUNTING)


def counts() -> dict[str, int]:
    """Return the number of live objects of each kind; all zero in a release build."""
    cdef int kind
    return {_NAMES[kind]: _counts[kind] for kind in range(<int> LIVE_KINDS)}
