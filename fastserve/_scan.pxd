# Delimiter scanning, vectorised (see _scan.h). Only _parser includes it: the set in use is a variable of that module.

from libc.stdint cimport uint8_t, uint64_t


cdef extern from "_scan.h" nogil:
    ctypedef size_t (*ScanFunction)(const uint8_t* data, size_t position, size_t end) noexcept nogil

    ctypedef struct ScanSet:
        const char* name
        ScanFunction token
        ScanFunction target
        ScanFunction text

    enum:
        SCAN_SETS

    const ScanSet[] scan_sets
    const ScanSet scan
    const uint64_t scan_counter
    void scan_use(const ScanSet* set) noexcept
    void scan_counter_reset() noexcept
    bint scan_set_available(const ScanSet* candidate) noexcept
