cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer, varint_size
from nats_streaming.protocol.protobuf cimport FieldReader
from nats_streaming.protocol.stan_messages cimport put_message

cdef Py_ssize_t _SLOTS_MAX, _BYTES_MAX, _ROOM_LEFT


@cython.final
cdef class Segment:
    cdef readonly long long base
    cdef readonly Py_ssize_t count
    cdef readonly ByteBuffer buffer
    cdef Py_ssize_t capacity
    cdef unsigned int[::1] offsets
    cdef unsigned int[::1] lengths
    cdef long long[::1] timestamps

    cpdef bint has_room(self, Py_ssize_t size) noexcept
    cpdef int seal(self) except -1
    @cython.locals(capacity=Py_ssize_t, count=Py_ssize_t, index=Py_ssize_t, offsets="unsigned int[::1]",
                   lengths="unsigned int[::1]", timestamps="long long[::1]")
    cdef int grow(self) except -1
    @cython.locals(index=Py_ssize_t)
    cdef int close_slot(self, Py_ssize_t offset, long long timestamp_ns) except -1
    @cython.locals(offset=Py_ssize_t)
    cpdef Py_ssize_t append_message(self, bytes subject_field, source, Py_ssize_t reply_start, Py_ssize_t reply_stop,
                                    Py_ssize_t data_start, Py_ssize_t data_stop, long long timestamp_ns) except -1
    @cython.locals(offset=Py_ssize_t)
    cpdef int append(self, bytes encoded, long long timestamp_ns) except -1
    cpdef int truncate(self, Py_ssize_t count) except -1
    @cython.locals(index=Py_ssize_t, size=Py_ssize_t)
    cpdef Py_ssize_t delete(self, long long sequence) except -1
    cpdef Py_ssize_t size_at(self, Py_ssize_t index) noexcept
    cpdef long long timestamp_at(self, Py_ssize_t index) noexcept
    @cython.locals(found=Py_ssize_t, index=Py_ssize_t)
    cpdef Py_ssize_t live_count(self, long long first, long long last) noexcept
    @cython.locals(found=Py_ssize_t, index=Py_ssize_t)
    cpdef Py_ssize_t live_size(self, long long first, long long last) noexcept
    @cython.locals(offset=Py_ssize_t)
    cpdef int put_encoded(self, ByteBuffer out, Py_ssize_t index) except -1
    @cython.locals(index=Py_ssize_t, offset=Py_ssize_t)
    cpdef bytes message(self, long long sequence)
    @cython.locals(index=Py_ssize_t, start=Py_ssize_t, stop=Py_ssize_t)
    cdef list message_list(self, long long first, long long last)
    @cython.locals(index=Py_ssize_t, size=Py_ssize_t, offset=Py_ssize_t)
    cpdef int put_run(self, ByteBuffer out, long long first, long long last) except -1
    @cython.locals(index=Py_ssize_t, size=Py_ssize_t)
    cpdef int put_sized_run(self, ByteBuffer out, ByteBuffer head, long long first, long long last) except -1
    @cython.locals(size="unsigned long long", timestamp_ns="long long", offset=Py_ssize_t, remaining="unsigned long long")
    cpdef bint read_run(self, FieldReader reader, long long count) except *
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t)
    cpdef Py_ssize_t first_at_or_after(self, long long timestamp_ns) noexcept
