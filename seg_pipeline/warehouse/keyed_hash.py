"""HMAC-SHA256 (RFC 2104) in SQL, for ids that must not be found again by trying all ids."""

import hashlib

SHA256_BLOCK_BYTES = 64


def hmac_sha256(text: str) -> str:
    """Returns the SQL expression of the HMAC-SHA256, in hex, of a text in UTF-8; its parameters are `hmac_blocks`.

    Args:
        text: The SQL expression of the text.
    """
    return f"sha256(unhex($outer) || unhex(sha256(unhex($inner) || encode({text}))))"


def hmac_blocks(key: str) -> dict[str, str]:
    """Returns the inner and the outer block of HMAC-SHA256 in hex: the key (its hash if it is longer) on two pads."""
    secret = key.encode("utf-8", "surrogateescape")
    if len(secret) > SHA256_BLOCK_BYTES:
        secret = hashlib.sha256(secret).digest()
    block = secret.ljust(SHA256_BLOCK_BYTES, b"\0")
    return {name: bytes(byte ^ pad for byte in block).hex() for name, pad in (("inner", 0x36), ("outer", 0x5C))}
