"""TLS without sockets: contexts from files, new files for new handshakes, and what is known of a connection.

`Certificates` holds what the next handshake uses. It looks at its files when it is told to, and takes a new set when
all of them have come to rest and make sense together; connections keep what they began with. A set that cannot be used
is told once, and the one before stays.

`tls_facts` is the `tls` extension of ASGI for one connection.
"""

import logging
import os
import re
import ssl
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

logger = logging.getLogger("fastserve.error")

ALPN: Final = ["http/1.1"]

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_VERSIONS: Final = {"SSLv3": 0x0300, "TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# RFC 4514 section 3, and the names that OpenSSL has for them.
_ATTRIBUTES: Final = {
    "commonName": "CN", "localityName": "L", "stateOrProvinceName": "ST", "organizationName": "O",
    "organizationalUnitName": "OU", "countryName": "C", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip

Context = ssl.SSLContext
# The name is None where the client has sent none.
ServerNameCallback = Callable[[ssl.SSLObject, str | None, Context], int | None]


class TlsError(Exception):
    """TLS cannot be set up; the text is the whole story, ready for the log."""


@dataclass(frozen=True)
class TlsFiles:
    """Where a context comes from, by the names of the options."""

    certfile: str
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    version: int = int(ssl.PROTOCOL_TLS_SERVER)
    cert_reqs: int = int(ssl.CERT_NONE)
    ca_certs: str | None = None
    ciphers: str | None = None

    @property
    def paths(self) -> list[str]:
        return [path for path in (self.certfile, self.keyfile, self.ca_certs) if path]

    def load(self) -> Context:
        """A context for servers. Raises TlsError."""
        try:
            context = ssl.SSLContext(self.version)
        except ValueError:
            raise TlsError(f"ssl_version: {self.version} is not a protocol of the ssl module") from None
        certificate = self._load_certificate(context)
        try:
            context.verify_mode = ssl.VerifyMode(self.cert_reqs)
        except ValueError as error:
            raise TlsError(f"ssl_cert_reqs: {error}") from None
        if self.ca_certs:
            _read("ssl_ca_certs", self.ca_certs)
            try:
                context.load_verify_locations(self.ca_certs)
            except ssl.SSLError:
                raise TlsError(f"ssl_ca_certs: no certificate (PEM) in {self.ca_certs!r}") from None
        if self.ciphers:
            try:
                context.set_ciphers(self.ciphers)
            except ssl.SSLError:
                raise TlsError(f"ssl_ciphers: OpenSSL has no cipher for {self.ciphers!r}") from None
        context.set_alpn_protocols(ALPN)
        _served[context] = certificate
        return context

    def _load_certificate(self, context: Context) -> str:
        """Give `context` its certificate and key; returns the certificate (PEM)."""
        content = _read("ssl_certfile", self.certfile)
        first = _CERTIFICATE.search(content)
        if first is None:
            raise TlsError(f"ssl_certfile: no certificate (PEM) in {self.certfile!r}")
        keyfile = self.keyfile or self.certfile
        key = _read("ssl_keyfile", keyfile) if self.keyfile else content
        if b"PRIVATE KEY-----" not in key:
            raise TlsError(f"{'ssl_keyfile' if self.keyfile else 'ssl_certfile'}: no private key (PEM) in {keyfile!r}")
        encrypted = False

        def password() -> str:
            # Called for an encrypted key only. Without it OpenSSL would ask on the terminal.
            nonlocal encrypted
            encrypted = True
            return self.password or ""

        try:
            context.load_cert_chain(self.certfile, self.keyfile, password)
        except (ssl.SSLError, ValueError) as error:
            if encrypted and not self.password:
                reason = f"ssl_keyfile_password: the private key in {keyfile!r} is encrypted; its password is needed"
            elif encrypted:
                reason = f"ssl_keyfile_password: not the password of the private key in {keyfile!r}"
            elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                reason = f"ssl_keyfile: the private key in {keyfile!r} is not that of the certificate in " + repr(
                    self.certfile
                )
            else:
                reason = f"ssl_certfile: cannot use {self.certfile!r} with the private key in {keyfile!r}: {error}"
            raise TlsError(reason) from None
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(first[0].decode("ascii", "replace")))


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TlsError(f"{option}: cannot read {path!r}: {error.strerror}") from None


class Certificates:
    """The certificates of a server: a context for new handshakes, made again when its files change.

    make: the context for clients that ask for no name, or for none of `named`; raises TlsError or anything else. named:
    what each name gets, in lower case; `*.example.org` stands for one label in the place of the star. paths: the files
    that `make` depends on. Raises what `make` raises, and TlsError.
    """

    def __init__(
        self, make: Callable[[], Context], named: Iterable[tuple[str, TlsFiles]] = (), paths: Iterable[str] = ()
    ) -> None:
        self._make = make
        self._named = list(named)
        self._paths = list(dict.fromkeys([*paths, *(path for _, files in self._named for path in files.paths)]))
        self._loaded = self._seen = self._state()
        self.context = self._load()

    @property
    def watchable(self) -> bool:
        """Whether there are files that may change."""
        return bool(self._paths)

    def refresh(self) -> bool:
        """Look at the files; returns whether there is a new context. Logs what is wrong with new files, once.

        Files that have changed since the last look are left alone until the next: whoever writes one after the other
        gets to finish.
        """
        state = self._state()
        seen, self._seen = self._seen, state
        if state == self._loaded or state != seen:
            return False
        self._loaded = state
        try:
            self.context = self._load()
        except Exception as error:  # a function of the user's may raise anything
            logger.error("The TLS files have changed and cannot be used, keeping what was loaded before. %s", error)
            return False
        logger.info("The TLS files have changed: new connections use what is in them now.")
        return True

    def _state(self) -> list[tuple[int, int, int, int] | None]:
        # What differs when a file has been written to or replaced, links followed.
        state: list[tuple[int, int, int, int] | None] = []
        for path in self._paths:
            try:
                found = os.stat(path)
            except OSError:
                state.append(None)
            else:
                state.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
        return state

    def _load(self) -> Context:
        context = self._make()
        contexts = {name: files.load() for name, files in self._named}
        if not contexts:
            return context
        # What the context does with names that are not ours to answer, if a function of the user's has made it.
        otherwise = cast(ServerNameCallback | None, context.sni_callback)

        def choose(connection: ssl.SSLObject, name: str | None, asked: Context) -> int | None:
            chosen = _for_name(contexts, name)
            if chosen is not None:
                connection.context = chosen
            elif otherwise is not None:
                return otherwise(connection, name, asked)
            return None

        context.sni_callback = choose
        return context


def _for_name(contexts: dict[str, Context], name: str | None) -> Context | None:
    if name is None:
        return None
    name = name.lower()
    return contexts.get(name) or contexts.get("*." + name.partition(".")[2])


# The certificate (PEM) of every context loaded here: a connection does not tell which it has sent.
_served: "weakref.WeakKeyDictionary[Context, str]" = weakref.WeakKeyDictionary()
_suites: "weakref.WeakKeyDictionary[Context, dict[str, int]]" = weakref.WeakKeyDictionary()


def tls_facts(connection: Any) -> dict[str, Any]:
    """The `tls` extension of ASGI for the `ssl.SSLObject` of a connection (TLS extension 0.2).

    A client certificate that does not satisfy ends the handshake, so `client_cert_error` is None.
    """
    context = connection.context
    suites = _suites.get(context)
    if suites is None:
        suites = _suites[context] = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    cipher = connection.cipher()
    subject = (connection.getpeercert() or {}).get("subject") if context.verify_mode != ssl.CERT_NONE else None
    return {
        "server_cert": _served.get(context),
        "client_cert_chain": _client_chain(connection) if subject is not None else (),
        "client_cert_name": distinguished_name(subject) if subject is not None else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version()),
        "cipher_suite": suites.get(cipher[0]) if cipher else None,
    }


def _client_chain(connection: Any) -> tuple[str, ...]:
    """What the client has sent (PEM), its own certificate first."""
    ask = getattr(connection, "get_unverified_chain", None)
    if ask is None:
        # Public from CPython 3.13 on; there before.
        ask = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    chain = ask() if ask is not None else [connection.getpeercert(binary_form=True)]
    return tuple(ssl.DER_cert_to_PEM_cert(_der(certificate)) for certificate in chain or ())


def _der(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    # ENCODING_DER, which has no public name.
    encoded: bytes = certificate.public_bytes(2)
    return encoded


def distinguished_name(subject: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A subject as `SSLObject.getpeercert` gives it, as text: RFC 4514, the most specific part first."""
    return ",".join(
        "+".join(f"{_ATTRIBUTES.get(name, name)}={_escape(value)}" for name, value in parts)
        for parts in reversed(list(subject))
    )


def _escape(value: str) -> str:
    # RFC 4514 section 2.4.
    escaped = re.sub(r'(["+,;<>\\])', r"\\\1", value).replace("\0", "\\00")
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
