"""Certificates of the sites: the configured ones, or self-signed ones in the state directory when those do not exist; the authority of client
certificates likewise."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import implementer  # type: ignore[import-untyped]

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng

log = logger("web")
YEARS = 10


class TlsError(Exception):
    """A certificate or key that is there cannot be used; the text names the file."""


def ensure_pair(certificate: str, key: str, state_dir: str, name: str, clock: Clock, rng: Rng, addresses: Sequence[str] = ()) -> tuple[str, str]:
    """Paths of a certificate and its key: the configured ones if both exist, else `name`.crt and `name`.key in the state directory, made when
    missing. `addresses` are named in it. TlsError when only one of the configured two exists."""
    there = [os.path.exists(path) for path in (certificate, key)]
    if all(there):
        return certificate, key
    if any(there):
        missing = key if there[0] else certificate
        raise TlsError(f"{missing} does not exist, though its certificate or key does")
    own = (os.path.join(state_dir, f"{name}.crt"), os.path.join(state_dir, f"{name}.key"))
    if not all(os.path.exists(path) for path in own):
        _make(Path(own[0]), Path(own[1]), clock, rng, addresses)
        log.info("self-signed certificate made", certificate=own[0], instead_of=certificate)
    return own


def _make(certificate: Path, key: Path, clock: Clock, rng: Rng, addresses: Sequence[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ngcpd")])
    now = datetime.datetime.fromtimestamp(clock.time(), datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(addresses)]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(int.from_bytes(rng.bytes(16), "big") >> 1 | 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key, secret, 0o600)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.rename(path)


def load(path: str) -> x509.Certificate:
    """A certificate in PEM. TlsError."""
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise TlsError(f"{path}: {error}") from None


@implementer(IOpenSSLContextFactory)
class ServerContext:
    """Makes the TLS context of the listener: clients may show a certificate; whether it counts is decided by whoever reads it, so that a wrong
    one gets an answer in HTTP. TlsError when certificate and key do not work."""

    def __init__(self, certificate: str, key: str, authority: str | None = None) -> None:
        self.context = self._made(certificate, key, authority)

    def take(self, other: ServerContext) -> None:
        """New connections meet the certificate of another one; those that are open go on."""
        self.context = other.context

    def _made(self, certificate: str, key: str, authority: str | None) -> Any:
        options = CertificateOptions(insecurelyLowerMinimumTo=TLSVersion.TLSv1_2)
        context = options.getContext()
        try:
            context.use_certificate_chain_file(certificate)
            context.use_privatekey_file(key)
            context.check_privatekey()
        except SSL.Error as error:
            reasons = "; ".join(str(part[-1]) for part in (error.args[0] if error.args else []))
            raise TlsError(f"{certificate} and {key} cannot be used: {reasons or 'not readable'}") from None
        context.set_session_id(b"ngcpd-web")
        if authority is not None:
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
            load(authority)
            context.load_client_ca(authority.encode())
        return context

    def getContext(self) -> Any:
        return self.context


def peer(transport: Any) -> x509.Certificate | None:
    """The certificate that the client of a connection has shown."""
    get = getattr(transport, "getPeerCertificate", None)
    shown = get() if get is not None else None
    return None if shown is None else shown.to_cryptography()
