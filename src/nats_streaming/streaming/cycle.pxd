cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer


@cython.final
cdef class Cycle:
    cdef readonly ByteBuffer replies
    cdef readonly ByteBuffer acks
    cdef readonly ByteBuffer farewells
    cdef readonly list touched
    cdef readonly list runs
    cdef public list records
    cdef readonly list completions
    cdef readonly list trace_lines
    cdef public Py_ssize_t message_count
    cdef public long long since_ns
    cdef public long long staged_bytes
    cdef public bint waited_for
