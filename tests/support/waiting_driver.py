"""A driver of data bases that, like those of real servers, waits for the server's first word without a limit."""

from __future__ import annotations

import socket
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.url import URL

NAME = "postgresql+waiting"
"""What stands before `://` in an address that uses the driver."""


class Waiting(SQLiteDialect_pysqlite):
    """Connects to the address, and waits."""

    driver = "waiting"

    def create_connect_args(self, url: URL) -> Any:
        return (url.host, url.port), {}

    def connect(self, *address: Any, **options: Any) -> Any:
        with socket.create_connection(address) as connection:
            connection.recv(1)
        raise ConnectionError("the server said nothing that a client understands")


registry.register("postgresql.waiting", __name__, "Waiting")
