# Request fields as Python objects: spans to the list of (name, value) tuples that ASGI and WSGI start from.

from fastserve._parser cimport RequestHead

# A new list of (bytes name, bytes value) tuples, names in lower case; well-known names are shared objects.
cdef list build_fields(const RequestHead* head, const char* data)

# The method as a str; registered methods are shared objects.
cdef str method_name(const char* data, Py_ssize_t size)

# The one that is the method of every HEAD request.
cdef str HEAD
