"""The space of a store in LMDB: opening and forks, read and write transactions, and room.

    read:   a read transaction; takes no lock
    write:  a write transaction: version = its number, change, make room, commit

Rules
* A transaction takes microseconds: nothing is encoded, waited for or switched inside. LMDB's write lock holds the
  thread of the operating system, and with it the event loop.
* All calls of LMDB are made under one lock of this process, and ask under it for the open files: a fork waits for the
  lock, and closes them (forking.py). So no child begins in the middle of a transaction.
* A version is the number of the last transaction that has written, or writes, a value of its bucket. A value that is
  read in a snapshot of this number or a later one is right as long as the version stays (local.py). A writer that dies
  leaves a number that the next transaction gets again, so nothing has to be repaired.
* Times are seconds of CLOCK_BOOTTIME plus the store's offset: a step of the wall clock changes nothing, and the offset
  takes the store over a restart of the machine.
"""

import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from wsgid.cache import eviction, forking, native, parts
from wsgid.cache.board import Board, Count, Head
from wsgid.cache.eviction import Pace
from wsgid.cache.lmdb_files import Files, lmdb
from wsgid.cache.parts import PARTED
from wsgid.cache.places import Place
from wsgid.cache.record import VALUE_AT
from wsgid.counted import counted
from wsgid.errors import CacheError, CacheFull, NoSuchCache, ValueTooLarge

_VALUE_SHARE = 4  # a value takes at most a fourth of the store
_RESERVE_SHARE = 8  # of the file stays free: for copies of changed pages, and pages that were just freed
_RESERVE_MIN_BYTES = 96 * 4096
_LARGE_SHARE = 6  # of the reserve: room for a value above this is made before it is written
_TRIES = 6
_CLOCK = b"\0clock"  # a key among the locks, whose own keys begin with "="
_TICK = b"\0tick"

T = TypeVar("T")


class Opened:
    """What a process has while the store is open.

    Args:
        files: of LMDB.
        board: stays open when the files are closed for a fork, because it tells that this process lives.
    """

    __slots__ = ("board", "environment", "files", "offset_s")

    def __init__(self, files: Files, board: Board) -> None:
        self.files = files
        self.environment = files.environment
        self.board = board
        self.offset_s = _offset_s(files)

    def now_s(self) -> float:
        """The time of the store's clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.offset_s


def _offset_s(files: Files) -> float:
    """The store's clock minus CLOCK_BOOTTIME; the first process of a boot decides it."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read().strip()
    with files.environment.begin(write=True, db=files.locks) as transaction:
        known = transaction.get(_CLOCK, b"")
        if known[8:] == boot:
            return float(struct.unpack_from("<d", known)[0])
        offset_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        transaction.put(_CLOCK, struct.pack("<d", offset_s) + boot)
    return offset_s


class LmdbSpace:
    """A store's space. It opens when it is first used, and again after a fork.

    Args:
        place: where its files are.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lock = native.recursive_lock()
        self.opened: Opened | None = None
        self._board: Board | None = None
        reserve_bytes = max(place.size_bytes // _RESERVE_SHARE, _RESERVE_MIN_BYTES)
        self._limit_bytes = place.size_bytes - reserve_bytes
        self._value_max_bytes = place.size_bytes // _VALUE_SHARE
        self.large_bytes = reserve_bytes // _LARGE_SHARE
        forking.guard(self)

    # --- opening, and forks ---

    def open(self) -> Opened:
        """Return the open files. Raises CacheError."""
        with self.lock:
            if self.opened is None:
                place = self.place
                try:
                    self._board = board = self._board or Board(place.board, place.size_bytes)
                except OSError as error:
                    raise NoSuchCache(f"the store {place.board} cannot be opened: {error}") from error
                with board.alone():
                    self.opened = Opened(Files(place.where, place.size_bytes), board)
            return self.opened

    def close_files(self) -> None:
        """Close the files of LMDB; the next use opens them again. Called before a fork."""
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.files.close()

    def forked(self) -> None:
        """In a child: the board is the parent's."""
        board, self._board = self._board, None
        if board is not None:
            board.close()

    # --- transactions ---

    def read(self, key: bytes) -> tuple[int, Any]:
        """Return the number of a snapshot, and a record in it; None if there is none."""
        try:
            with self.lock:
                opened = self.opened or self.open()
                with opened.environment.begin(db=opened.files.data) as transaction:
                    record = transaction.get(key)
                    if record is not None and record[VALUE_AT] == PARTED:
                        record = parts.whole(transaction, opened.files.parts, record)
                    return transaction.id(), record
        except lmdb.Error as error:
            self._recover(error)
            return self.read(key)

    def read_many(self, keys: list[bytes]) -> list[Any]:
        """Return the records of one snapshot; None for each that is not there."""
        try:
            with self.lock:
                opened = self.opened or self.open()
                with opened.environment.begin(db=opened.files.data) as transaction:
                    records = list(map(transaction.get, keys))
                    for place, record in enumerate(records):
                        if record is not None and record[VALUE_AT] == PARTED:
                            records[place] = parts.whole(transaction, opened.files.parts, record)
                    return records
        except lmdb.Error as error:
            self._recover(error)
            return self.read_many(keys)

    def write(self, change: Callable[[Any, Opened, float], T], checksums: Iterable[int]) -> T:
        """Change something in a transaction, and make room for it.

        Args:
            change: gets the transaction, the open files and the time; may be called again.
            checksums: of the names whose values change.

        Raises:
            CacheFull: there is no room, although values were deleted.
        """
        for tried in range(_TRIES):
            try:
                with self.lock:
                    return self._write_once(self.opened or self.open(), change, checksums)
            except lmdb.MapFullError:
                self._make_more_room(tried + 1)
            except lmdb.Error as error:
                self._recover(error)
        raise self._full()

    def _write_once(self, opened: Opened, change: Callable[[Any, Opened, float], T], checksums: Iterable[int]) -> T:
        board = opened.board
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME) + opened.offset_s
        with opened.environment.begin(write=True, buffers=True, db=opened.files.data) as transaction:
            number = transaction.id()
            for checksum in checksums:
                board.versions[checksum & board.mask] = number
                board.uses[checksum & board.mask] = now_s
            result = change(transaction, opened, now_s)
            self._keep_within(opened, transaction, self._limit_bytes, now_s)
        return result

    def clear(self) -> None:
        """Delete all values."""
        with self.lock:
            opened = self.opened or self.open()
            with opened.environment.begin(write=True, db=opened.files.data) as transaction:
                opened.board.words[Head.EPOCH] = transaction.id()
                transaction.drop(opened.files.data, delete=False)
                transaction.drop(opened.files.parts, delete=False)
                self._keep_within(opened, transaction, self._limit_bytes, 0.0)

    def _recover(self, error: Exception) -> None:
        """Remove what is in the way of a transaction, which is then tried again, or raise a CacheError."""
        with self.lock:
            environment = (self.opened or self.open()).environment
            if isinstance(error, lmdb.MapResizedError):
                environment.set_mapsize(0)  # a server with a larger --cache has come (SIGUSR2)
            elif not isinstance(error, lmdb.ReadersFullError) or not environment.reader_check():
                raise CacheError(f"the store {self.place.name} cannot be used: {error}") from error

    # --- room ---

    @staticmethod
    def _keep_within(
        opened: Opened, transaction: Any, limit_bytes: int, now_s: float, pace: Pace = Pace.GENTLE
    ) -> bool:
        """Delete values if there are too many, and put the sizes on the board. Returns whether it is enough."""
        used, items = eviction.used_bytes(transaction, opened.files)
        if used > limit_bytes:
            eviction.make_room(transaction, opened.files, opened.board, limit_bytes, now_s, pace)
            used, items = eviction.used_bytes(transaction, opened.files)
        words = opened.board.words
        words[Head.USED_BYTES] = used
        words[Head.ITEMS] = items
        words[Head.CHANGED_S] = int(time.time())
        return used <= limit_bytes or not items

    def prepare_for(self, encoded: bytes) -> None:
        """Make room for a large value, before the transaction that writes it.

        Raises:
            ValueTooLarge: it is too large for any room.
        """
        if len(encoded) > self._value_max_bytes:
            (self.opened or self.open()).board.line[Count.FULL] += 1
            raise ValueTooLarge(
                f"a value of {counted(len(encoded), 'byte')} is too large for the store {self.place.name}, which takes "
                f"{self._value_max_bytes}, a fourth of its size: give --cache {self.place.name} more"
            )
        try:
            self._free(len(encoded))
        except lmdb.MapFullError:
            self._make_more_room(1)

    def _make_more_room(self, tried: int) -> None:
        """LMDB has found no free page: a dead or stopped reader holds old pages, or others have just taken what was
        free. Delete more."""
        with self.lock:
            (self.opened or self.open()).environment.reader_check()
        try:
            self._free(self.large_bytes * tried)
        except lmdb.MapFullError as error:
            raise self._full() from error

    def _free(self, wanted_bytes: int) -> None:
        """Delete so much that this many bytes fit beside the reserve, in as many transactions as it needs.

        A page that a transaction frees can be used by the one after the next (LMDB keeps the last state for the case of
        a crash). So a small transaction follows.
        """
        limit_bytes = max(self._limit_bytes - wanted_bytes, 0)
        enough = False
        while not enough:
            with self.lock:
                opened = self.opened or self.open()
                with opened.environment.begin(write=True, buffers=True, db=opened.files.data) as transaction:
                    enough = self._keep_within(opened, transaction, limit_bytes, opened.now_s(), Pace.FIRM)
                with opened.environment.begin(write=True, db=opened.files.locks) as transaction:
                    transaction.put(_TICK, transaction.id().to_bytes(8, "little"))

    def _full(self) -> CacheFull:
        (self.opened or self.open()).board.line[Count.FULL] += 1
        return CacheFull(f"the store {self.place.name} has no room for a value, although others were removed")
