"""What ``doctor`` says of the port: who can reach it, and with what."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.cli.findings import Finding
from runtime.cli.words import command_line, moment
from runtime.gateway.certificate import Certificate
from runtime.gateway.config import GatewayError
from runtime.settings import GatewaySettings, Settings, is_loopback

SHORT_TOKEN = 16
"""Characters. Fewer can be guessed in the time that somebody may try."""

FEW_CHARACTERS = 6
RENEW_WITHIN = 14 * 86_400.0
"""Seconds. Certificates are usually renewed a month before they run out, so something is wrong."""

_HOW_TO_MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe())"'


def exposure(settings: Settings) -> Iterator[Finding]:
    """Look at everything that clients depend on, but the port itself."""
    gateway = settings.gateway
    yield from _tokens(gateway)
    yield from _certificate(gateway)
    yield from _origins(gateway)
    yield from _workspaces(settings)


def port_findings(gateway: GatewaySettings) -> Iterator[Finding]:
    """Whether the port can be opened. Not to be asked while the runtime holds it."""
    where = f"{gateway.host} port {gateway.port}"
    if gateway.port == 0:
        yield Finding("port", "ok", "any free one")
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            gateway.host, gateway.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(address)
    except OSError as error:
        hint = f"stop who uses it, or choose another: {command_line('serve', '--port', '0')}"
        yield Finding("port", "problem", f"{where}: {error.strerror or error}", hint)
        return
    yield Finding("port", "ok", f"{where} is free")


def _tokens(gateway: GatewaySettings) -> Iterator[Finding]:
    tokens = {"gateway.token": gateway.token} if gateway.token is not None else {}
    for name, principal in gateway.principals.items():
        tokens[f"gateway.principals.{name}.token"] = principal.token
    weak = [
        path
        for path, token in tokens.items()
        if len(token) < SHORT_TOKEN or len(set(token)) < FEW_CHARACTERS
    ]
    if weak:
        text = f"{', '.join(weak)}: short enough to be guessed"
        yield Finding("token", "warning", text, f"take a random one: {_HOW_TO_MAKE_ONE}")
    elif tokens:
        yield Finding("token", "ok", f"{len(tokens)}, all long enough")
    if not is_loopback(gateway.host) and gateway.tls_certificate is None:
        text = f"without TLS, tokens and messages cross the network to {gateway.host} in the clear"
        hint = "set gateway.tls_certificate, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        yield Finding("encryption", "warning", text, hint)


def _certificate(gateway: GatewaySettings) -> Iterator[Finding]:
    name = "certificate"
    if gateway.tls_certificate is None:
        return
    try:
        certificate = Certificate(gateway.tls_certificate, gateway.tls_key)
        end = _end_of(certificate.context, gateway.tls_certificate)
    except GatewayError as error:
        hint = "put the right files there; the key must belong to the certificate"
        yield Finding(name, "problem", str(error), hint)
        return
    except ssl.SSLCertVerificationError as error:
        hint = "have it issued anew, and put the files in the place of the old ones"
        yield Finding(name, "problem", error.verify_message, hint)
        return
    except (OSError, ValueError) as error:
        hint = "see with openssl x509 -noout -dates whether it is what you meant"
        yield Finding(name, "warning", f"it could not be looked into: {error}", hint)
        return
    text = f"{gateway.tls_certificate} is valid until {moment(round(end * 1_000))}"
    if end - time.time() < RENEW_WITHIN:
        hint = "renew it; the runtime takes up renewed files by itself"
        yield Finding(name, "warning", text, hint)
    else:
        yield Finding(name, "ok", text)


def _end_of(server: ssl.SSLContext, certificate: Path) -> float:
    """When a certificate runs out, in seconds since 1970.

    A client that trusts nothing but this very certificate shakes hands with the server, in memory:
    what it says of it afterwards is the one way in which the standard library reads dates of
    certificates.

    Raises:
        ssl.SSLCertVerificationError: it has run out, or is not valid yet.
        OSError: it cannot be used otherwise.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(here, there)
    answering = server.wrap_bio(there, here, server_side=True)
    for _ in range(4):
        for end in (asking, answering):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = asking.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(found["notAfter"])))


def _origins(gateway: GatewaySettings) -> Iterator[Finding]:
    open_ones = [
        origin
        for origin in gateway.allowed_origins
        if origin.lower().startswith("http://") and not is_loopback(_host_of(origin))
    ]
    if open_ones:
        text = f"{', '.join(open_ones)}: whoever is on the way of such a page can change it"
        yield Finding("origins", "warning", text, "serve the page with https")
    elif gateway.allowed_origins:
        yield Finding("origins", "ok", f"{len(gateway.allowed_origins)} allowed")


def _host_of(origin: str) -> str:
    host = origin.partition("://")[2].lower()
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


def _workspaces(settings: Settings) -> Iterator[Finding]:
    name, data_dir = "workspace", settings.storage.data_dir.absolute()
    for root in settings.gateway.workspace_roots:
        place = root.absolute()
        if not root.is_dir():
            text = f"{root}: there is no such folder"
            yield Finding(name, "warning", text, "make it, or take it out of the settings")
        elif data_dir.is_relative_to(place) or place.is_relative_to(data_dir):
            text = f"{root} and the data directory are one within the other"
            hint = "name folders beside it: an agent could read what everybody said"
            yield Finding(name, "warning", text, hint)
        else:
            yield Finding(name, "ok", str(root))
