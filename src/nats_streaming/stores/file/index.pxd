cimport cython
from nats_streaming.stores.file.record cimport Checksum, read_u32, read_u64
from nats_streaming.stores.segment cimport Segment

cdef int _SOUND, _ZEROS, _DAMAGED, _DISORDERED
cdef Py_ssize_t _ENTRY, _HEADER, _OVERHEAD


@cython.final
cdef class IndexScan:
    cdef readonly Checksum checksum
    cdef readonly long long dropped_until
    cdef long long[::1] holes
    cdef Py_ssize_t holes_length
    cdef Py_ssize_t holes_at
    cdef readonly long long count
    cdef readonly long long size
    cdef readonly long long live_count
    cdef readonly long long live_bytes
    cdef readonly long long first
    cdef readonly long long last
    cdef readonly long long first_timestamp_ns
    cdef readonly long long last_timestamp_ns
    cdef readonly long long last_offset
    cdef readonly long long last_size
    cdef readonly unsigned int stored
    cdef readonly unsigned int computed

    @cython.locals(at=Py_ssize_t, limit=Py_ssize_t, sequence="long long", offset="long long", size="long long")
    cpdef int feed(self, bytes data) except -1
    cpdef int renew_holes(self, holes) except -1
    cdef bint is_hole(self, long long sequence) except *


@cython.locals(view="const unsigned char *", at=Py_ssize_t)
cdef bint _all_zero(bytes data, Py_ssize_t start, Py_ssize_t stop) noexcept


@cython.final
cdef class IndexRun:
    cdef readonly bytes data
    cdef readonly Py_ssize_t count

    cpdef long long sequence_at(self, Py_ssize_t entry) noexcept
    cpdef long long offset_at(self, Py_ssize_t entry) noexcept
    cpdef long long timestamp_at(self, Py_ssize_t entry) noexcept
    cpdef long long size_at(self, Py_ssize_t entry) noexcept
    @cython.locals(previous="long long", end="long long", entry=Py_ssize_t, at=Py_ssize_t, offset="long long")
    cpdef Py_ssize_t keep_sound(self, Checksum checksum) except -1
    @cython.locals(start="long long", entry=Py_ssize_t)
    cpdef Py_ssize_t entries_within(self, long long bytes_max) except -1
    @cython.locals(skip_length=Py_ssize_t, skip_view="const unsigned char *", size_of_data="long long",
                   entry=Py_ssize_t, sequence="long long", timestamp_ns="long long", at="long long", size="long long",
                   start="long long", before=Py_ssize_t)
    cpdef Py_ssize_t fill(self, Segment segment, Py_ssize_t count, Py_ssize_t slots_max, bytes data, long long base,
                          bytes skip, Checksum checksum, bint check) except -2


@cython.locals(mine_data=bytearray, given_data=bytearray, sequence="long long", slot=Py_ssize_t, other=Py_ssize_t,
               size=Py_ssize_t)
cpdef Py_ssize_t first_difference(Segment mine, Segment given, long long first, long long last) except -1
@cython.locals(view="const unsigned char *", given_view="const unsigned char *", index=Py_ssize_t)
cdef bint _equal(bytearray mine, Py_ssize_t at, bytearray given, Py_ssize_t other, Py_ssize_t size) except -1
@cython.locals(view="const unsigned char *", at="long long", value="long long", shift=int, octet="unsigned char")
cdef bint _begins_with(bytes data, long long start, long long stop, long long sequence) noexcept
