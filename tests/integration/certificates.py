"""Certificates of a test run: an authority that clients are told of, and one that nobody knows."""

from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

AUTHORITY: Final = "authority.pem"
STRANGER: Final = "stranger.pem"


def write_certificates(directory: Path) -> Path:
    """Writes both authorities and, as a key store of PEM, the key and certificate of 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / AUTHORITY)
    trustme.CA().cert_pem.write_to_path(directory / STRANGER)
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    store = directory / "broker.pem"
    chain = [certificate.bytes() for certificate in issued.cert_chain_pems]
    store.write_bytes(b"".join([key_text, *chain]))
    return store
