"""Does one thing with the Python Trino client and prints what it saw, one fact a line.

Usage: client.py dbapi|sqlalchemy HOST:PORT SOURCE ACT SQL [PARAMETER …]

CLIENT_AUTHORITY names a PEM file and means TLS; CLIENT_PASSWORD and CLIENT_ENCODING as said.
"""

import concurrent.futures
import os
import sys
import time
import zlib

import sqlalchemy
import trino


def options(source):
    """What a connection is told beside its address."""
    told = {"source": source}
    if authority := os.environ.get("CLIENT_AUTHORITY"):
        told |= {"http_scheme": "https", "verify": authority}
    if password := os.environ.get("CLIENT_PASSWORD"):
        told["auth"] = trino.auth.BasicAuthentication("real-test", password)
    if encoding := os.environ.get("CLIENT_ENCODING"):
        told["encoding"] = encoding
    return told


def dbapi(address, source):
    """A connection of the DBAPI."""
    host, port = address.rsplit(":", 1)
    return trino.dbapi.connect(host=host, port=int(port), user="real-test", **options(source))


def sqlalchemy_connection(address, source):
    """A connection of SQLAlchemy."""
    engine = sqlalchemy.create_engine(f"trino://real-test@{address}", connect_args=options(source))
    return engine.connect()


class Dbapi:
    """Runs statements with the DBAPI."""

    def __init__(self, address, source):
        self.connection = dbapi(address, source)

    def rows(self, sql, parameter=None):
        """The rows as they come."""
        cursor = self.connection.cursor()
        cursor.execute(sql, None if parameter is None else [parameter])
        return iter(cursor.fetchone, None)

    def cursor(self, sql):
        """An open cursor, to be cancelled."""
        cursor = self.connection.cursor()
        cursor.execute(sql)
        return cursor


class SqlAlchemy:
    """Runs statements with SQLAlchemy."""

    def __init__(self, address, source):
        self.connection = sqlalchemy_connection(address, source)

    def rows(self, sql, parameter=None):
        """The rows as they come."""
        if parameter is None:
            result = self.connection.execution_options(stream_results=True).exec_driver_sql(sql)
            return result if result.returns_rows else []
        bound = sqlalchemy.text(sql.replace("?", ":parameter"))
        return self.connection.execute(bound, {"parameter": parameter})

    def cursor(self, sql):
        """An open cursor, to be cancelled."""
        return self.connection.exec_driver_sql(sql).cursor


def print_rows(client, statements):
    """The rows of the last of some statements separated by `;`, or its error."""
    try:
        rows = []
        for sql in statements.split(";"):
            rows = [as_text(row) for row in client.rows(sql)]
        print("\n".join(rows))
    except (trino.exceptions.TrinoQueryError, sqlalchemy.exc.DBAPIError) as error:
        cause = getattr(error, "orig", error)
        print(f"error {cause.error_code} {cause.message}")


def as_text(row):
    """A row as the other clients write it."""
    return "\t".join(str(value) for value in row)


def checksum(client, sql):
    """The number of rows, and the sum of the CRC-32 of each (any order gives the same)."""
    count = total = 0
    for row in client.rows(sql):
        count += 1
        total += zlib.crc32(as_text(row).encode())
    print(f"{count}\t{total}")


def cancel(client, sql):
    """Cancels after the first row, so the query was surely running."""
    cursor = client.cursor(sql)
    cursor.fetchone()
    print("running", flush=True)
    cursor.cancel()
    print("cancelled")


def transactions(address, source, count):
    """Transactions of three statements, one after the other on one connection."""
    host, port = address.rsplit(":", 1)
    connection = trino.dbapi.connect(
        host=host, port=int(port), user="real-test", source=source,
        isolation_level=trino.transaction.IsolationLevel.READ_COMMITTED,
    )
    for _ in range(count):
        cursor = connection.cursor()
        for _ in range(2):
            cursor.execute("SELECT count(*) FROM tpch.tiny.nation")
            rows = cursor.fetchall()
            if rows != [[25]]:
                raise SystemExit(f"wrong rows: {rows}")
        connection.commit()
    print(f"{count} transactions")


def outcome(address, source, sql):
    """Runs one query with a connection of its own, and tells how it ended."""
    try:
        return f"rows {sum(1 for _ in Dbapi(address, source).rows(sql))}"
    except Exception as error:  # Whatever it is, it is what a user would see.
        return failed(error)


def failed(error):
    """An error in one line."""
    return " ".join(f"failed {type(error).__name__}: {error}".split())


def tell(address, source, sql):
    """Prints how one query ended."""
    sys.stdout.write(outcome(address, source, sql) + "\n")  # One write: lines of threads do not mix.
    sys.stdout.flush()


def each(source):
    """Does one act after another, each told in a line `ACT HOST:PORT SQL`."""
    for line in sys.stdin:
        act, address, sql = line.rstrip("\n").split(" ", 2)
        if act != "cancel":
            tell(address, source, sql)
            continue
        try:
            cancel(Dbapi(address, source), sql)
        except Exception as error:  # As above.
            print(failed(error))
        sys.stdout.flush()


def many(address, source, sql, count):
    """Runs a query many times at once."""
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        for _ in range(count):
            threads.submit(tell, address, source, sql)


def pace(address, source, sql, rate, seconds):
    """Starts a query so many times a second, for so many seconds; a slow one delays no other."""
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(rate * seconds) as threads:
        for number in range(rate * seconds):
            time.sleep(max(0, begin + number / rate - time.monotonic()))
            threads.submit(tell, address, source, sql)


def main():
    """Does what the command line says."""
    kind, address, source, act, sql = sys.argv[1:6]
    if act == "transactions":
        transactions(address, source, int(sql))
        return
    if act in ("many", "pace"):
        act = {"many": many, "pace": pace}[act]
        act(address, source, sql, *map(int, sys.argv[6:]))
        return
    if act == "each":
        each(source)
        return
    client = {"dbapi": Dbapi, "sqlalchemy": SqlAlchemy}[kind](address, source)
    if act == "rows":
        print_rows(client, sql)
    elif act == "checksum":
        checksum(client, sql)
    elif act == "prepared":
        print("\n".join(as_text(row) for row in client.rows(sql, int(sys.argv[6]))))
    elif act == "cancel":
        cancel(client, sql)
    else:
        raise SystemExit(f"no act {act}")


if __name__ == "__main__":
    main()
