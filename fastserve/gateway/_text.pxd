# Comparing what applications send with what it may be: whether text is a certain one, without running Python code.

cdef extern from *:
    """
    /* Whether `given` is the text `expected`, an ASCII string; runs no Python code. Message types have dots: Python
       does not intern them, so it is nearly never the same object. */
    static inline int fastserve_equal(PyObject *given, PyObject *expected) {
        if (given == expected)
            return 1;
        if (!PyUnicode_Check(given))
            return 0;
        if (!PyUnicode_IS_COMPACT_ASCII(given))
            return PyUnicode_Compare(given, expected) == 0;
        return PyUnicode_GET_LENGTH(given) == PyUnicode_GET_LENGTH(expected) &&
            memcmp(PyUnicode_1BYTE_DATA(given), PyUnicode_1BYTE_DATA(expected), PyUnicode_GET_LENGTH(given)) == 0;
    }
    """
    bint fastserve_equal(object given, object expected) noexcept
