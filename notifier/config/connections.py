"""How a sink's requests reach their receiver: certificates, a proxy, private networks, a password."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, SecretStr, WithJsonSchema

from notifier.config.fields import Model, Text, secret_from, text
from notifier.config.urls import check_proxy

Network = IPv4Network | IPv6Network


def _allowed(value: Any) -> bool | tuple[Network, ...]:
    """A switch, one network, or a list of them."""
    if str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    networks = value if isinstance(value, list | tuple) else [value]
    if not networks:
        raise ValueError("is an empty list; write false, or name networks")
    try:
        return tuple(ip_network(text(network)) for network in networks)
    except ValueError:
        raise ValueError('holds what is no network such as "10.20.0.0/16" (or write true or false)') from None


def _user(value: Any) -> str:
    name = text(value)
    if ":" in name:
        raise ValueError('holds ":", which ends a user name')
    return name


def _proxy(value: Any) -> str:
    address = text(value)
    check_proxy(address)
    return address


Allowed = Annotated[
    bool | tuple[Network, ...],
    PlainValidator(_allowed),
    PlainSerializer(lambda value: value if isinstance(value, bool) else [str(one) for one in value]),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    ),
]
Proxy = Annotated[SecretStr, secret_from(_proxy)]


class TlsConfig(Model):
    """Certificates for connections to this sink. Files are read from the configuration's directory on."""

    ca: Text | None = None
    """A file of certificates (PEM) to trust, in place of the system's."""

    certificate: Text | None = None
    """A file with the certificate (PEM) that we show; with `key`."""

    key: Text | None = None
    """The file of its private key (PEM); with `certificate`."""

    key_password: Annotated[SecretStr, secret_from(text)] | None = None
    """What the key is encrypted with, if it is."""


class BasicAuthConfig(Model):
    """A user name and password, sent with every request (HTTP basic authentication)."""

    username: Annotated[str, BeforeValidator(_user)]
    """The user."""

    password: Annotated[SecretStr, secret_from(text)]
    """The password."""
