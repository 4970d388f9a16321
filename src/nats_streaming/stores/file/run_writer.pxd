cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer
from nats_streaming.stores.file.record cimport Checksum, crc_of, put_index_entry, put_record, write_u32
from nats_streaming.stores.segment cimport Segment

cdef Py_ssize_t _FIRST_BYTES, _KEEP_BYTES, _SPARES_MAX, _SPARE_BYTES_MAX, _HEADER, _OVERHEAD


@cython.final
cdef class Spares:
    cdef list _free

    cpdef ByteBuffer take(self)
    cpdef int give(self, ByteBuffer buffer) except -1


@cython.final
cdef class RunWriter:
    cdef readonly Checksum checksum
    cdef readonly Spares spares
    cdef readonly ByteBuffer data
    cdef readonly ByteBuffer index
    cdef readonly long long offset
    cdef readonly long long count
    cdef readonly long long size
    cdef readonly long long last_timestamp_ns

    cpdef int begin(self, long long offset, long long count, long long size) except -1
    cpdef int data_written(self) except -1
    cpdef int index_written(self) except -1
    @cython.locals(size=Py_ssize_t)
    cpdef int put(self, bytes encoded, long long sequence, long long timestamp_ns) except -1
    @cython.locals(spare=ByteBuffer, source=bytearray, view="const unsigned char *", tables="unsigned int[::1]",
                   out=ByteBuffer, sequence="long long", slot=Py_ssize_t, size=Py_ssize_t, timestamp_ns="long long",
                   start=Py_ssize_t)
    cpdef Py_ssize_t put_run(self, Segment segment, long long first, long long last, Py_ssize_t buffer_bytes,
                            long long count_max, long long size_max, long long timestamp_stop_ns) except -1
