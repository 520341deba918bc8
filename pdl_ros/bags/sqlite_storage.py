"""SQLite files of rosbag2 (`.db3`), also cut off, or with the journal of a killed recorder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np

from pdl_ros.bags.storage import (
    MAX_BYTES,
    Topic,
    add_entry,
    as_index,
    count,
    cut_off,
    standard_name,
)

MAGIC = b'SQLite format 3\0'
_STEPS = 100_000


class SqliteStorage:
    """An SQLite file of rosbag2. Only plain tables are read: no SQL of the file is run.

    scratch: returns a new empty folder, for a file that SQLite has to repair before it is read.
    """

    is_ros1 = False
    format = 'sqlite3'

    def __init__(self, path: Path, scratch: Callable[[], Path]) -> None:
        self.path = _readable(path, scratch)
        self._entries: np.ndarray | None = None
        self.damage = ''
        with contextlib.closing(_connect(self.path)) as database:
            _check(database)
            self._rows = _read_topics(database)
            self._definitions = _read_definitions(database)
            try:
                if _is_cut(self.path):
                    raise sqlite3.DatabaseError('is cut off')
                self._counts = dict(
                    database.execute(
                        'SELECT topic_id, COUNT(*) FROM messages NOT INDEXED GROUP BY topic_id'
                    )
                )
            except sqlite3.DatabaseError:
                self._salvage(database)

    @property
    def topics(self) -> dict[int, Topic]:
        return {
            number: Topic(
                name,
                standard_name(kind),
                encoding.lower(),
                *self._definitions.get(kind, ('', '')),
                self._counts.get(number, 0),
                kind,
                qos,
                type_hash,
            )
            for number, (name, kind, encoding, qos, type_hash) in self._rows.items()
        }

    def index(self, connections: Collection[int]) -> np.ndarray:
        if self._entries is not None:
            return self._entries[np.isin(self._entries['connection'], list(connections))]
        marks = ', '.join('?' * len(connections))
        with contextlib.closing(_connect(self.path)) as database:
            rows = database.execute(
                'SELECT timestamp, topic_id, rowid FROM messages NOT INDEXED '
                f'WHERE topic_id IN ({marks}) ORDER BY rowid',
                tuple(connections),
            )
            return _collect(rows)

    def open(self) -> _OpenSqlite:
        return _OpenSqlite(self.path)

    def _salvage(self, database: sqlite3.Connection) -> None:
        """Find the messages that can be read, in a file of which parts are missing."""
        self._entries = _collect(_whole_rows(database))
        self._counts = count(self._entries)
        self.damage = cut_off(self._entries)


class _OpenSqlite:
    def __init__(self, path: Path) -> None:
        self._database = _connect(path)
        self.close = self._database.close

    def read(self, block: int, offset: int) -> bytes:
        # The length is in the row itself, the data may be spread over the whole file.
        query = 'SELECT data FROM messages WHERE rowid = ? AND length(data) <= ?'
        (data,) = self._database.execute(query, (block, MAX_BYTES)).fetchone() or (None,)
        if not isinstance(data, bytes):
            raise ValueError(f'row {block} has no message of less than {MAX_BYTES} bytes')
        return data


def _readable(path: Path, scratch: Callable[[], Path]) -> Path:
    """Return the file, or a copy of it where SQLite has to change it to read it, and may not."""
    page, _ = _pages(path)
    if torn := path.stat().st_size % page:
        # SQLite would fill the last page up with zeros, and so the end of a picture.
        copy = scratch() / path.name
        shutil.copyfile(path, copy)
        os.truncate(copy, path.stat().st_size - torn)
        return copy
    try:
        with contextlib.closing(_connect(path)) as database:
            _check(database)
        return path
    except sqlite3.OperationalError:
        journals = _journals(path)
        if not journals:
            raise
    folder = scratch()
    for file in (path, *journals):
        shutil.copyfile(file, folder / file.name)
    try:
        with contextlib.closing(sqlite3.connect(folder / path.name)) as database:
            _check(database)
    except sqlite3.DatabaseError:  # the journal does not fit: what the file has without it
        for journal in journals:
            (folder / journal.name).unlink()
    return folder / path.name


def _journals(path: Path) -> list[Path]:
    beside = [path.with_name(f'{path.name}{end}') for end in ('-wal', '-journal')]
    return [file for file in beside if file.is_file()]


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file to read. One that was cut off would be refused as a whole, but for the pragma."""
    address = f'{path.absolute().as_uri()}?mode=ro'
    journals = _journals(path)
    database = sqlite3.connect(address if journals else f'{address}&immutable=1', uri=True)
    database.text_factory = lambda text: text.decode(errors='replace')
    database.execute('PRAGMA trusted_schema = OFF')
    if _is_cut(path):
        database.execute('PRAGMA writable_schema = ON')
    # A file can be built so that its rows have no end; a whole one takes fewer steps than bytes.
    size = sum(file.stat().st_size for file in (path, *journals))
    steps = iter(range(size * 10 // _STEPS + 100))
    database.set_progress_handler(lambda: next(steps, None) is None, _STEPS)
    return database


def _is_cut(path: Path) -> bool:
    """Tell whether a file is shorter than its header says."""
    size, count = _pages(path)
    return path.stat().st_size < size * count


def _pages(path: Path) -> tuple[int, int]:
    """Return the size of a file's pages and how many it should have, 0 if it does not say."""
    with path.open('rb') as file:
        header = file.read(100)
    if len(header) < 100:
        raise ValueError('it ends in its header')
    size = int.from_bytes(header[16:18], 'big')
    counted = header[24:28] == header[92:96]
    # 65536 does not fit into two bytes.
    return 1 << 16 if size <= 1 else size, int.from_bytes(header[28:32], 'big') if counted else 0


def _check(database: sqlite3.Connection) -> None:
    """Raise ValueError unless the tables of rosbag2 are there, and are nothing but tables."""
    for table in ('topics', 'messages'):
        if not _is_plain(database, table):
            raise ValueError(f'it has no table {table} like that of rosbag2')


def _is_plain(database: sqlite3.Connection, table: str) -> bool:
    query = 'SELECT type, sql FROM sqlite_master WHERE name = ?'
    kind, sql = database.execute(query, (table,)).fetchone() or ('', '')
    columns = database.execute(f'PRAGMA table_xinfo({table})').fetchall()
    virtual = not isinstance(sql, str) or 'virtual' in sql.lower().split()[:3]
    return kind == 'table' and not virtual and not any(column[6] for column in columns)


def _read_topics(database: sqlite3.Connection) -> dict[int, list[str]]:
    """Return name, type, encoding, QoS and type hash by number; early versions lack the last."""
    found = {str(column[1]) for column in database.execute('PRAGMA table_info(topics)')}
    wanted = ('offered_qos_profiles', 'type_description_hash')
    more = ', '.join(name if name in found else "''" for name in wanted)
    rows = database.execute(f'SELECT id, name, type, serialization_format, {more} FROM topics')
    return {int(number): list(map(str, rest)) for number, *rest in rows}


def _read_definitions(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return encoding and text by type. Files before ROS 2 Iron have none."""
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError):
        if _is_plain(database, 'message_definitions'):
            rows = database.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            )
            return {str(kind): (str(encoding), str(text)) for kind, encoding, text in rows}
    return {}


def _whole_rows(database: sqlite3.Connection) -> Iterable[tuple[int, int, int]]:
    with contextlib.suppress(sqlite3.DatabaseError):
        for row in database.execute(
            'SELECT timestamp, topic_id, rowid FROM messages NOT INDEXED ORDER BY rowid'
        ):
            with contextlib.suppress(sqlite3.DatabaseError):
                database.execute('SELECT data FROM messages WHERE rowid = ?', row[2:]).fetchone()
                if all(isinstance(value, int) for value in row):
                    yield row


def _collect(rows: Iterable[tuple[int, int, int]]) -> np.ndarray:
    """Return (N,) INDEX of log time, topic and rowid. Raises TypeError where one is no number."""
    entries = array('q')
    for row in rows:
        add_entry(entries, *row, 0)
    return as_index(entries)
