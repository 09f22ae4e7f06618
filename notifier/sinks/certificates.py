"""A sink's certificates -> how its connections are verified. Verified they always are."""

from __future__ import annotations

import ssl
from pathlib import Path

from notifier.config.connections import TlsConfig
from notifier.config.files import why_unreadable
from notifier.errors import ConfigError


def context_of(name: str, config: TlsConfig, directory: Path) -> ssl.SSLContext | None:
    """The context for a sink's connections; None where it has nothing of its own.

    Raises ``ConfigError``, with the key and the file.
    """
    if config == TlsConfig():
        return None
    context = _trusting(name, directory / config.ca) if config.ca else ssl.create_default_context()
    if config.certificate and config.key:
        secret = config.key_password.get_secret_value() if config.key_password else ""
        certificate, key = directory / config.certificate, directory / config.key
        try:
            context.load_cert_chain(certificate, key, password=lambda: secret)  # without it OpenSSL asks
        except ssl.SSLError:
            raise ConfigError(
                f"sinks.{name}.tls: {certificate} and {key} are no certificate and its key in PEM, "
                "or key_password does not open the key"
            ) from None
        except (OSError, ValueError) as error:
            raise _unreadable(f"sinks.{name}.tls", f"{certificate} or {key}", error) from None
    return context


def _trusting(name: str, ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        raise ConfigError(f"sinks.{name}.tls.ca: {ca} holds no certificates in PEM") from None
    except (OSError, ValueError) as error:
        raise _unreadable(f"sinks.{name}.tls.ca", str(ca), error) from None


def _unreadable(key: str, file: str, error: Exception) -> ConfigError:
    return ConfigError(f"{key}: {file} cannot be read: {why_unreadable(error)}")
