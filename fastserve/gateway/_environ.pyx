"""The environ of a WSGI application (PEP 3333, RFC 3875 section 4), made of an exchange.

Text in it is Latin-1: one character for each byte that came. A field that came more than once is one variable, joined
as RFC 9110 section 5.3 has it. Fields with an underscore in their name are left out: they could not be told from those
with a hyphen, which a proxy in front may vouch for. So is Proxy, which programs would take for HTTP_PROXY.

Most requests on a connection repeat what the one before them said. So the environ of the latest is kept, and the next
one is a copy in which only the values of fields that differ are replaced. A request with other names of fields, or
another target, begins anew.
"""

import sys
from urllib.parse import unquote_to_bytes

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr

from fastserve._exchange cimport Endpoint, Exchange

cdef enum:
    KEYS_KEPT = 512             # names of fields whose key is remembered

cdef bytes EMPTY = b""
cdef bytes SLASH = b"/"
cdef str COOKIE = "HTTP_COOKIE"
cdef dict _TLS_VERSIONS = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
cdef frozenset NOT_VARIABLES = frozenset({b"proxy", b"transfer-encoding"})


class ErrorStream:
    """`wsgi.errors`: text that goes to the standard error stream as it is at the time."""

    def write(self, text: str) -> int:
        """Write `text`; return how many characters it has."""
        return sys.stderr.write(text)

    def writelines(self, lines) -> None:
        """Write all of `lines`."""
        sys.stderr.writelines(lines)

    def flush(self) -> None:
        """Hand on what has been written."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether somebody reads it on a terminal."""
        return sys.stderr.isatty()


cdef inline str _text(bytes data):
    return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL)


cdef bytes _decoded(bytes path):
    if memchr(PyBytes_AS_STRING(path), c"%", PyBytes_GET_SIZE(path)) is NULL:
        return path
    return unquote_to_bytes(path)


cdef int _describe_tls(dict environ, dict tls) except -1:
    # The variables of Apache's mod_ssl, which PEP 3333 recommends, as far as ASGI's `tls` extension knows them.
    cdef object chain = tls["client_cert_chain"]
    if tls["tls_version"] in _TLS_VERSIONS:
        environ["SSL_PROTOCOL"] = _TLS_VERSIONS[tls["tls_version"]]
    environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if chain else "NONE"
    if chain:
        environ["SSL_CLIENT_CERT"] = chain[0]
        environ["SSL_CLIENT_S_DN"] = tls["client_cert_name"].encode("utf-8").decode("latin-1")
    return 0


cdef class EnvironTemplate:
    """The environ of a connection's latest request."""


cdef class EnvironBuilder:
    """Makes environs.

    root_path: where the application is mounted: SCRIPT_NAME. multithread, multiprocess: whether other calls of the
    application may run at the same time in this process, and in others. file_wrapper: what applications find as
    `wsgi.file_wrapper`.
    """

    def __init__(self, root_path: str = "", *, multithread: bool = False, multiprocess: bool = False,
                 file_wrapper=None):
        self.root_path = root_path.rstrip("/").encode("utf-8", "surrogateescape")
        self.keys = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
        self.keys.update(dict.fromkeys(NOT_VARIABLES))
        self.constant = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": None,
            "wsgi.input": None,
            "wsgi.errors": ErrorStream(),
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": file_wrapper,
            "wsgi.input_terminated": True,
            "wsgi.early_hints": None,
            "SERVER_SOFTWARE": "fastserve",
            "SERVER_NAME": None,
            "SERVER_PORT": None,
            "SERVER_PROTOCOL": None,
            "REMOTE_ADDR": None,
            "REMOTE_PORT": None,
            "REQUEST_METHOD": None,
            "REQUEST_URI": None,
            "RAW_URI": None,
            "SCRIPT_NAME": None,
            "PATH_INFO": None,
            "QUERY_STRING": None,
        }

    cdef dict build(self, Exchange exchange):
        cdef EnvironTemplate template = exchange.endpoint.cache
        cdef list fields = exchange.fields
        cdef list before
        cdef tuple field, known
        cdef Py_ssize_t index
        cdef bytes name, value
        if (
            template is None
            or template.method is not exchange.method
            or template.minor != exchange.minor
            or len(template.fields) != len(fields)
            or template.target != exchange.target
        ):
            return PyDict_Copy(self._template(exchange).environ)
        before = template.fields
        for index in range(len(fields)):
            field = <tuple> fields[index]
            known = <tuple> before[index]
            if field is known:
                continue
            name = <bytes> field[0]
            value = <bytes> field[1]
            if name is not known[0] and name != <bytes> known[0]:
                return PyDict_Copy(self._template(exchange).environ)
            if value != <bytes> known[1]:
                if template.keys[index] is None:
                    return PyDict_Copy(self._template(exchange).environ)
                template.environ[template.keys[index]] = _text(value)
        template.fields = fields
        return PyDict_Copy(template.environ)

    cdef EnvironTemplate _template(self, Exchange exchange):
        cdef EnvironTemplate template = EnvironTemplate.__new__(EnvironTemplate)
        cdef dict environ = PyDict_Copy(self.constant)
        cdef Py_ssize_t before
        cdef str text
        self._describe(environ, exchange.endpoint)
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if exchange.minor else "HTTP/1.0"
        environ["REQUEST_METHOD"] = exchange.method
        self._split(environ, exchange)
        template.environ = environ
        template.fields = exchange.fields
        template.keys = []
        for name, value in exchange.fields:
            key = self._key(name)
            text = _text(value)
            if key is not None and key in environ and not (key == "CONTENT_LENGTH" or key == "CONTENT_TYPE"):
                environ[key] = f"{environ[key]}{'; ' if key == COOKIE else ','}{text}"
                for before in range(len(template.keys)):
                    if template.keys[before] == key:
                        template.keys[before] = None
                key = None
            elif key is not None:
                environ[key] = text
            template.keys.append(key)
        template.method = exchange.method
        template.target = exchange.target
        template.minor = exchange.minor
        exchange.endpoint.cache = template
        return template

    cdef int _describe(self, dict environ, Endpoint endpoint) except -1:
        # A proxy may say "ws": WSGI has no such scheme.
        environ["wsgi.url_scheme"] = "https" if endpoint.scheme in ("https", "wss") else "http"
        if environ["wsgi.url_scheme"] == "https":
            environ["HTTPS"] = "on"
            if endpoint.tls is not None:
                _describe_tls(environ, endpoint.tls)
        if endpoint.server is not None and endpoint.server[1] is not None:
            environ["SERVER_NAME"] = endpoint.server[0]
            environ["SERVER_PORT"] = str(endpoint.server[1])
        else:
            # A Unix socket has neither; what stands here is only used where there is no Host field.
            environ["SERVER_NAME"] = "localhost"
            environ["SERVER_PORT"] = "443" if endpoint.scheme == "https" else "80"
        if endpoint.client is None:
            environ["REMOTE_ADDR"] = ""
            del environ["REMOTE_PORT"]
        else:
            environ["REMOTE_ADDR"] = endpoint.client[0]
            environ["REMOTE_PORT"] = str(endpoint.client[1])
        return 0

    cdef int _split(self, dict environ, Exchange exchange) except -1:
        # Proxies take the prefix off the path, or leave it there: both are served.
        cdef bytes path = _decoded(exchange.raw_path)
        cdef bytes root = self.root_path
        if exchange.endpoint.prefix is not None:
            root = _decoded(exchange.endpoint.prefix).rstrip(SLASH)
        if root and path.startswith(root) and (len(path) == len(root) or path[len(root)] == c"/"):
            path = path[len(root):]
        environ["SCRIPT_NAME"] = _text(root)
        environ["PATH_INFO"] = _text(path)
        environ["QUERY_STRING"] = _text(exchange.query)
        environ["REQUEST_URI"] = environ["RAW_URI"] = _text(exchange.target)
        return 0

    cdef object _key(self, bytes name):
        cdef object key
        if name in self.keys:
            return self.keys[name]
        key = None if b"_" in name else "HTTP_" + _text(name).upper().replace("-", "_")
        if len(self.keys) < KEYS_KEPT:
            self.keys[name] = key
        return key
