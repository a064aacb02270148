"""What proxies in front say of a request: X-Forwarded-For and the like, and Forwarded (RFC 7239).

The parser notes that such a field is there; only then anything here runs. If the peer is trusted, the exchange gets an
endpoint of its own, derived from the connection's: gateway, access log and whoever else asks see the client behind the
proxy, and nothing of it is left for the next request. The latest of them is kept with the connection's endpoint, for
the client that asks again.

X-Forwarded-For and -Proto are read as uvicorn reads them, what is odd in them included. Of the others, which somebody
has asked for, each takes the last value, the nearest proxy's, and one that cannot be right is an error: an application
would make links and redirects of it.

Of Forwarded, every proxy appends an element about the request as it received it. From the end, elements are believed as
long as the `for` behind them names a trusted proxy: the first that does not is about the client.
"""

import re

from cpython.bytes cimport PyBytes_AS_STRING

from fastserve._exchange cimport TRUST_NO, TRUST_UNKNOWN, TRUST_YES, Endpoint, Exchange

from fastserve.trust import TrustedPeers, host_and_port

cdef frozenset SCHEMES = frozenset({"http", "https", "ws", "wss"})
cdef object match_authority = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::([0-9]{1,5}))?").fullmatch
# Two slashes at the start would make another host of it in a redirect.
cdef object match_prefix = re.compile(rb"(?:/[A-Za-z0-9._~!$&'()*+;=:@%-]+)*").fullmatch
# forwarded-pair (RFC 7239 section 4): token "=" ( token / quoted-string ). Ports and IPv6 addresses have to be quoted;
# many do not.
cdef object match_pair = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+)|"((?:[^"\\]|\\.)*)")""").match
cdef object match_separator = re.compile(r"[ \t]*([;,])[ \t]*").match


class MalformedError(ValueError):
    """A field of a proxy that does not say what it should."""


def parse_forwarded(value: str) -> list[dict[str, str]]:
    """Return the elements of a Forwarded field in their order: parameters by their names in lower case, unquoted.

    Raises MalformedError for what is not RFC 7239 section 4, a parameter that an element has twice included.
    """
    cdef list elements = []
    cdef dict element = {}
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t size = len(value)
    while position < size:
        if value[position] in ",;":
            # Empty members of a list (RFC 9110 section 5.6.1), and of an element.
            pair = None
        else:
            pair = match_pair(value, position)
            if pair is None:
                raise MalformedError("Forwarded is malformed")
            name = pair[1].lower()
            if name in element:
                raise MalformedError("Forwarded is malformed")
            element[name] = pair[2] if pair[2] is not None else re.sub(r"\\(.)", r"\1", pair[3])
            position = pair.end()
            if position == size:
                break
        separator = match_separator(value, position)
        if separator is None:
            raise MalformedError("Forwarded is malformed")
        position = separator.end()
        if separator[1] == "," and element:
            elements.append(element)
            element = {}
    if element:
        elements.append(element)
    return elements


cdef bytes _last(bytes value):
    return value.rpartition(b",")[2].strip()


cdef object _default_port(str scheme):
    return 443 if scheme in ("https", "wss") else 80


cdef int _port(str text) except -1:
    cdef int number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 0 < number < 65536:
        raise MalformedError("X-Forwarded-Port is malformed")
    return number


cdef class Forwarding:
    """Which fields of proxies are read, and who is believed.

    addresses: X-Forwarded-For and X-Forwarded-Proto; host, port, prefix: X-Forwarded-Host, -Port and -Prefix; standard:
    Forwarded, which takes precedence over the others.
    """

    def __init__(self, trusted, *, addresses=True, host=False, port=False, prefix=False, standard=False):
        if not isinstance(trusted, TrustedPeers):
            raise TypeError("trusted must be TrustedPeers")
        self.trusted = trusted
        self.addresses = addresses
        self.host = host
        self.port = port
        self.prefix = prefix
        self.standard = standard

    cdef bint _believes(self, Endpoint endpoint) except -1:
        if endpoint.peer_uid >= 0:
            return self.trusted.has_user(endpoint.peer_uid)
        return (None if endpoint.client is None else endpoint.client[0]) in self.trusted

    cdef str apply(self, Exchange exchange):
        cdef Endpoint base = exchange.endpoint
        cdef Endpoint derived
        cdef list fields = exchange.fields
        cdef list addresses = None
        cdef list elements = None
        cdef bytes scheme = None
        cdef bytes host = None
        cdef bytes port = None
        cdef bytes prefix = None
        cdef bytes own_host = None
        cdef bytes name, value
        cdef Py_ssize_t index
        cdef Py_ssize_t host_index = -1
        cdef tuple values
        if base.trust == TRUST_UNKNOWN:
            base.trust = TRUST_YES if self._believes(base) else TRUST_NO
        if base.trust == TRUST_NO:
            return None
        for index in range(len(fields)):
            name, value = fields[index]
            if PyBytes_AS_STRING(name)[0] not in (c"f", c"h", c"x"):
                continue
            if name == b"host":
                host_index = index
                own_host = value
            elif name == b"x-forwarded-for":
                if self.addresses:
                    if addresses is None:
                        addresses = []
                    addresses.append(value)
            elif name == b"x-forwarded-proto":
                if self.addresses:
                    scheme = value
            elif name == b"x-forwarded-host":
                if self.host:
                    host = value
            elif name == b"x-forwarded-port":
                if self.port:
                    port = value
            elif name == b"x-forwarded-prefix":
                if self.prefix:
                    prefix = value
            elif name == b"forwarded" and self.standard:
                if elements is None:
                    elements = []
                elements.append(value)
        values = (
            None if addresses is None else b", ".join(addresses),
            scheme,
            host,
            port,
            prefix,
            None if elements is None else b", ".join(elements),
            # What the port is put into.
            own_host if port is not None else None,
        )
        derived = base.forwarded
        if derived is None or base.forwarded_values != values:
            try:
                derived = self._derive(base, own_host, values)
            except MalformedError as error:
                return str(error)
            base.forwarded = derived
            base.forwarded_values = values
        exchange.endpoint = derived
        if derived.forwarded_host is not None:
            if host_index >= 0:
                fields[host_index] = (b"host", derived.forwarded_host)
            else:
                fields.append((b"host", derived.forwarded_host))
        return None

    cdef Endpoint _derive(self, Endpoint base, bytes own_host, tuple values):
        cdef object client = base.client
        cdef object server = base.server
        cdef str scheme = base.scheme
        cdef str authority = None
        cdef str text
        cdef object prefix = None
        cdef object port = None
        cdef Endpoint derived
        cdef dict element
        if values[1] is not None:
            text = values[1].decode("latin1").strip()
            if text in SCHEMES:
                scheme = text
        if values[0] is not None:
            found = self.trusted.client_of(values[0].decode("latin1"))
            if found[0]:
                client = found
        if values[2] is not None:
            authority = _last(values[2]).decode("latin1")
            if match_authority(authority) is None:
                raise MalformedError("X-Forwarded-Host is malformed")
        if values[5] is not None:
            element = self._about_client(parse_forwarded(values[5].decode("latin1")))
            text = element.get("for")
            if text:
                client = host_and_port(text)
            text = element.get("proto")
            if text is not None:
                scheme = text.lower()
                if scheme not in SCHEMES:
                    raise MalformedError("Forwarded has an unknown proto")
            text = element.get("host")
            if text is not None:
                authority = text
                if match_authority(authority) is None:
                    raise MalformedError("Forwarded has a malformed host")
        if values[4] is not None:
            prefix = _last(values[4]).rstrip(b"/")
            if match_prefix(prefix) is None:
                raise MalformedError("X-Forwarded-Prefix is malformed")
        if values[3] is not None:
            port = _port(_last(values[3]).decode("latin1"))
            if authority is None and own_host:
                authority = own_host.decode("latin1")
        host_changed = authority is not None
        if host_changed:
            parts = match_authority(authority)
            if parts is not None:
                name = parts[1]
                if port is None:
                    port = int(parts[2]) if parts[2] else _default_port(scheme)
                else:
                    authority = name if port == _default_port(scheme) else f"{name}:{port}"
                server = (name.strip("[]"), port)
        elif port is not None and server is not None and server[1] is not None:
            server = (server[0], port)
        derived = Endpoint(client, server, scheme)
        derived.peer_uid = base.peer_uid
        derived.prefix = prefix
        derived.tls = base.tls
        if host_changed:
            derived.forwarded_host = authority.encode("latin1")
        return derived

    def _about_client(self, elements: list) -> dict:
        """Return the element that is about the client, and not about a proxy that is trusted."""
        if not elements:
            return {}
        if not self.trusted.everybody:
            for element in reversed(elements):
                if host_and_port(element.get("for", ""))[0] not in self.trusted:
                    return element
        return elements[0]
