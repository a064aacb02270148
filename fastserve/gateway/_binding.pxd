# What applications are given to call: methods of ours, without Python's search for them.

cdef extern from *:
    """
    /* self.method as attribute access would give it, for a method descriptor of its type. */
    static inline PyObject *fastserve_bind(PyObject *descriptor, PyObject *self) {
        return PyCMethod_New(((PyMethodDescrObject *)descriptor)->d_method, self, NULL, NULL);
    }
    """
    object fastserve_bind(object descriptor, object self)
