cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer
from nats_streaming.protocol.protobuf cimport FieldReader

cdef int _END, _RECORD, _PADDING, _CUT, _BAD_CRC, _BAD_CONTENT
cdef Py_ssize_t _HEADER, _ENTRY, _OVERHEAD, _ZLIB_BYTES_MIN
cdef int _LENGTH_KEYS, _FIELD, _FIELD_END
cdef bint _COMPILED
cdef unsigned int _ALL_BITS


@cython.final
cdef class Checksum:
    cdef readonly unsigned int polynomial
    cdef readonly bint standard
    cdef unsigned int[::1] tables

    cpdef unsigned int of(self, data, Py_ssize_t start, Py_ssize_t stop) except? 0


@cython.locals(crc="unsigned int", word="unsigned int", position=Py_ssize_t)
cpdef unsigned int crc_of(unsigned int[::1] tables, const unsigned char *view, Py_ssize_t start,
                          Py_ssize_t stop) noexcept
cpdef int put_u32(ByteBuffer out, unsigned int value) except -1
@cython.locals(index=int)
cpdef void write_u32(unsigned char *view, Py_ssize_t at, unsigned int value) noexcept
@cython.locals(index=int)
cpdef void write_u64(unsigned char *view, Py_ssize_t at, unsigned long long value) noexcept
@cython.locals(view="const unsigned char *", value="unsigned int")
cpdef unsigned int read_u32(const unsigned char *data, Py_ssize_t at) noexcept
@cython.locals(high="unsigned long long")
cpdef long long read_u64(const unsigned char *data, Py_ssize_t at) noexcept
cpdef int put_record(ByteBuffer out, unsigned int kind, bytes payload, Checksum checksum) except -1
@cython.locals(view="unsigned char *", at=Py_ssize_t)
cpdef int put_index_entry(ByteBuffer out, long long sequence, long long offset, long long timestamp_ns,
                          unsigned int size, Checksum checksum) except -1
@cython.locals(start=Py_ssize_t, stop=Py_ssize_t, crc="unsigned int", sequence="unsigned long long")
cpdef int put_pairs(ByteBuffer out, unsigned int kind, unsigned long long subscription_id, list sequences,
                    Checksum checksum) except -1


@cython.final
cdef class RecordScan:
    cdef readonly bytes data
    cdef const unsigned char *view
    cdef readonly Py_ssize_t limit
    cdef bint typed
    cdef Checksum checksum
    cdef bint check
    cdef readonly Py_ssize_t position
    cdef readonly unsigned int kind
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t stop
    cdef readonly unsigned int stored
    cdef readonly unsigned int computed
    cdef readonly unsigned long long first_value
    cdef readonly unsigned long long second_value
    cdef FieldReader reader

    cpdef int move(self, Py_ssize_t position) except -1
    @cython.locals(word="unsigned int", size=Py_ssize_t, start=Py_ssize_t)
    cpdef int next(self) except -1
    @cython.locals(reader=FieldReader, result=int)
    cpdef bint pair(self) except *
    @cython.locals(view="const unsigned char *", at=Py_ssize_t, word="unsigned int", size=Py_ssize_t,
                   kind="unsigned int", start=Py_ssize_t, plausible=bint)
    cpdef Py_ssize_t resync(self, unsigned int kind_max) except -1


@cython.final
cdef class MessageScan:
    cdef readonly Checksum checksum
    cdef readonly ByteBuffer index
    cdef FieldReader reader
    cdef readonly long long count
    cdef readonly long long size
    cdef readonly long long first
    cdef readonly long long last
    cdef readonly long long first_timestamp_ns
    cdef readonly long long last_timestamp_ns
    cdef readonly long long sequence
    cdef readonly long long timestamp_ns

    @cython.locals(reader=FieldReader, result=int)
    cpdef bint decode(self, bytes data, Py_ssize_t start, Py_ssize_t stop) except *
    @cython.locals(before=Py_ssize_t, result=int, size=Py_ssize_t)
    cpdef int take(self, RecordScan scan, long long base) except -1
    @cython.locals(at=Py_ssize_t)
    cpdef int pop(self) except -1
