"""Customers who were erased: their keyed hashes, by which later loads leave out their lines.

Ids are often short numbers, which a hash without a key does not hide: all of them can be tried in seconds. So the hash
is the HMAC of the SHA-256 of the id, and the key lies beside the warehouse, not in it.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.raw.tables import ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.settings import ERASURE_KEY_VARIABLE, erasure_key
from seg_pipeline.warehouse import Connection, hmac_blocks, hmac_sha256

KEY_SUFFIX = ".erasure-key"
KEY_BYTES = 32
KEY_ID_CHARS = 8


@dataclass(frozen=True, slots=True)
class ErasureKey:
    """Where the key of the hashes is: in the environment, or else in a file beside the warehouse.

    Attributes:
        file: The path of that file.
    """

    file: Path

    @classmethod
    def beside(cls, warehouse: Path | str) -> "ErasureKey":
        """Returns the key of a warehouse."""
        return cls(Path(f"{warehouse}{KEY_SUFFIX}"))

    def read(self) -> str | None:
        """Returns the key; None if there is none.

        Raises:
            UsageError: The key in the environment is too short.
            MachineError: The file cannot be read.
        """
        if given := erasure_key():
            return given.get_secret_value()
        try:
            return self.file.read_text(encoding="utf-8", errors="surrogateescape").strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MachineError(f"{self.file}: cannot be read: {error.strerror}") from None

    def read_or_make(self) -> str:
        """Returns the key; if there is none, makes the file, which only its owner can read.

        Raises:
            UsageError: The key in the environment is too short.
            MachineError: The file cannot be read or written.
        """
        if key := self.read():
            return key
        made = secrets.token_hex(KEY_BYTES)
        try:
            # A killed process must not leave a file without a key, which would never be used.
            unfinished = self.file.with_name(f"{self.file.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(made + "\n")
                file.flush()
                os.fsync(descriptor)
            os.replace(unfinished, self.file)
        except OSError as error:
            raise MachineError(f"{self.file}: cannot be written: {error.strerror}") from None
        return made


def remember(connection: Connection, key: ErasureKey, customers: Sequence[str]) -> None:
    """Adds customers to the erased ones, within the caller's transaction.

    Args:
        connection: The connection to the warehouse.
        key: The key of the hashes, which is made if it does not exist yet.
        customers: Customer ids as in clean_orders, each once.

    Raises:
        UsageError: The table was made with a key that is missing, or with another one.
        MachineError: The key cannot be read or written.
    """
    prepare(connection, key)
    secret = key.read_or_make()
    connection.execute(
        f"INSERT INTO {ERASED_CUSTOMERS.name} BY NAME SELECT * FROM"
        f" (SELECT {hmac_sha256('sha256(id)')} AS customer_hash, $key_id AS key_id"
        f" FROM (SELECT unnest($ids::VARCHAR[]) AS id))"
        f" WHERE customer_hash NOT IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        {"ids": list(customers), "key_id": key_id(secret), **hmac_blocks(secret)},
    )


def prepare(connection: Connection, key: ErasureKey | None) -> None:
    """Creates the table if it does not exist, checks that its key is there, and gives older hashes a key.

    Args:
        connection: The connection to the warehouse.
        key: The key of the hashes; None if no customer was ever erased.

    Raises:
        UsageError: The table was made with a key that is missing, or with another one.
        MachineError: The key cannot be read or written.
    """
    connection.create(ERASED_CUSTOMERS, or_replace=False)
    for (made_with,) in connection.execute(f"SELECT DISTINCT key_id FROM {ERASED_CUSTOMERS.name}").fetchall():
        secret = None if key is None else key.read() if made_with else key.read_or_make()
        if secret is None or made_with not in (None, key_id(secret)):
            raise UsageError(
                f"the key of raw.erased_customers {'is another one' if secret else 'is missing'}, and erased customers"
                f" would come back: restore {key.file if key else 'it'}, or set {ERASURE_KEY_VARIABLE} to its content"
            )
        if made_with is None:
            # Older versions wrote the SHA-256 alone.
            connection.execute(
                f"UPDATE {ERASED_CUSTOMERS.name} SET customer_hash = {hmac_sha256('customer_hash')}, key_id = $key_id"
                " WHERE key_id IS NULL",
                {"key_id": key_id(secret), **hmac_blocks(secret)},
            )


def leave_out(connection: Connection, key: ErasureKey | None, deliveries: Sequence[str]) -> None:
    """Deletes the lines of erased customers from deliveries that have just been loaded; `prepare` comes before it."""
    if key is None or not connection.execute(f"SELECT count(*) FROM {ERASED_CUSTOMERS.name}").fetchall()[0][0]:
        return
    hashed = hmac_sha256(f"sha256({CUSTOMER_TEXT})")
    connection.delete(
        RAW_ORDERS,
        "source_file IN (SELECT unnest($names::VARCHAR[]))"
        f" AND {hashed} IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        {"names": list(deliveries), **CUSTOMER_ID, **hmac_blocks(key.read_or_make())},
    )


def key_id(key: str) -> str:
    """Returns a few digits by which a key is recognised and which do not reveal it."""
    secret = key.encode("utf-8", "surrogateescape")
    return hmac.new(secret, b"raw.erased_customers", hashlib.sha256).hexdigest()[:KEY_ID_CHARS]
