# Counts of live objects in debug builds; in release builds the calls vanish.
#
# Written as `if COUNTING: count_live(LIVE_X, +1)`: COUNTING is a C macro, so the compiler drops the branch.

cdef extern from *:
    """
    #ifdef FASTSERVE_DEBUG
    #define FASTSERVE_COUNTING 1
    #else
    #define FASTSERVE_COUNTING 0
    #endif
    """
    const bint COUNTING "FASTSERVE_COUNTING"

cdef enum LiveKind:
    LIVE_BUFFER
    LIVE_CONNECTION
    LIVE_EXCHANGE
    LIVE_RESPONDER
    LIVE_TASK
    LIVE_KINDS

cdef void count_live(LiveKind kind, int change) noexcept
