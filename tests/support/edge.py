"""Listeners with TLS and other rules of their own, seen from outside; certificates for them."""

from __future__ import annotations

import datetime
import ipaddress
import signal
import socket
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from .gateway import BINARY, clean_env, free_port, wait_until

ECHO_ROUTE = '[[route]]\npath = "/echo"\nbuiltin = "echo"\n'
DAY = datetime.timedelta(days=1)
FORMATS = {
    "pkcs8": serialization.PrivateFormat.PKCS8,
    "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
}


class Edge:
    """A running binary whose listeners are in its configuration. `{port}`, `{port2}` … in the
    text become free ports, `{dir}` the folder. `before` runs in the child before the binary."""

    HEAD = '[log]\naccess = "off"\nlevel = "debug"\n'

    def __init__(self, folder: Path, config: str, env=None, ports: int = 3, args=(), before=None):
        self.ports = [free_port() for _ in range(ports)]
        self.port = self.ports[0]
        names = {f"{{port{at + 1 if at else ''}}}": str(p) for at, p in enumerate(self.ports)}
        for name, value in {**names, "{dir}": str(folder)}.items():
            config = config.replace(name, value)
        self.config_path = folder / f"edge-{self.port}.toml"
        self.config_path.write_text(self.HEAD + config)
        self.log_path = folder / f"edge-{self.port}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BINARY), "--config", str(self.config_path), *args],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_env(env),
                preexec_fn=before,
            )
        wait_until("the start", self.has_started, seconds=20)

    def has_started(self) -> bool:
        assert self.process.poll() is None, self.log()
        return "Ctrl-C ends it" in self.log()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not stop\n{self.log()}") from None
        assert code == 0, self.log()
        assert "panic" not in self.log(), self.log()


class Authority:
    """Signs certificates and writes them as PEM files."""

    def __init__(self, folder: Path, name: str = "test authority"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key.public_key(), (-DAY, 3650 * DAY))
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
        own_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(own_id, critical=False)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.path = folder / f"{name.replace(' ', '-')}.pem"
        self.path.write_bytes(_pem(self.certificate))
        self.key_path = self.path.with_suffix(".key")
        self.key_path.write_bytes(_key_pem(self.key))

    def _builder(self, subject, key, validity):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + validity[0])
            .not_valid_after(now + validity[1])
        )

    def issue(
        self,
        names=("localhost", "127.0.0.1"),
        file="server",
        kind="ec",
        key_format="pkcs8",
        password=None,
        validity=(-DAY, 90 * DAY),
        ocsp=None,
        usage=None,
        must_staple=False,
        subject=None,
    ) -> tuple[Path, Path]:
        """The files of a certificate (with this authority's behind it) and of its key."""
        key = {
            "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
            "rsa": lambda: rsa.generate_private_key(65537, 2048),
        }[kind]()
        subject = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = self._builder(subject, key.public_key(), validity)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer_id, critical=False)
        if ocsp:
            place = x509.UniformResourceIdentifier(ocsp)
            about = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([about]), False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if must_staple:
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(feature, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        cert_path, key_path = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        _replace(key_path, _key_pem(key, FORMATS[key_format], password))
        _replace(cert_path, _pem(certificate) + _pem(self.certificate))
        return cert_path, key_path


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
OCSP_SIGNING = ExtendedKeyUsageOID.OCSP_SIGNING


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def _general(name: str):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key, form=serialization.PrivateFormat.PKCS8, password=None) -> bytes:
    lock = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, form, lock)


def context(authority: Path | None, version=None, alpn=("http/1.1",), **files) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        made.load_verify_locations(authority)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if version:
        made.minimum_version = made.maximum_version = version
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if files:
        made.load_cert_chain(files["cert"], files["key"])
    return made


def connect(port: int, made: ssl.SSLContext, name="localhost", session=None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=15)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return made.wrap_socket(plain, server_hostname=name, session=session)
    except BaseException:
        plain.close()
        raise


def exchange(stream, request: bytes | None = None, host="localhost", path="/health") -> bytes:
    """Sends a request on a stream and reads its one response to the end of its content."""
    request = request or f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    stream.sendall(request)
    return read_response(stream)


def read_response(stream) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = stream.recv(65536)
        if not piece:
            return got
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    while len(body) < (lengths[0] if lengths else 0):
        piece = stream.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def openssl(*words: str, stdin: bytes = b"", seconds: float = 20) -> str:
    done = subprocess.run(
        ["openssl", *words], input=stdin, capture_output=True, timeout=seconds, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")
