cimport cython
from nats_streaming.stores.segment cimport Segment


@cython.final
cdef class MessageWindow:
    cdef readonly list segments
    cdef readonly Py_ssize_t overhead_bytes
    cdef public long long max_messages
    cdef public long long max_bytes
    cdef readonly long long first
    cdef readonly long long last
    cdef public long long committed
    cdef readonly long long count
    cdef readonly long long bytes
    cdef readonly long long last_timestamp_ns
    cdef public bint dropped_by_limit
    cdef readonly Segment tail
    cdef Segment recent
    cdef readonly list lent
    cdef readonly long long appended
    cdef readonly long long appended_committed
    cdef readonly long long resident

    @cython.locals(timestamp_ns="long long", segment=Segment, estimate=Py_ssize_t, count=Py_ssize_t, size=Py_ssize_t)
    cpdef long long append(self, bytes subject_field, source, Py_ssize_t reply_start, Py_ssize_t reply_stop,
                          Py_ssize_t data_start, Py_ssize_t data_stop, long long now_ns,
                          Py_ssize_t size_max) except *
    cpdef int commit(self, long long last, long long appended) except -1
    cpdef long long durable_count(self) noexcept
    cpdef long long durable_bytes(self) noexcept
    cpdef bint is_over_limit(self) noexcept
    cpdef int apply_limits(self) except -1
    cpdef bint drop_first(self) except *
    @cython.locals(segment=Segment, size=Py_ssize_t)
    cdef forget(self, long long sequence)
    @cython.locals(segment=Segment, oldest=Segment)
    cdef int skip_holes(self) except -1
    @cython.locals(oldest=Segment)
    cdef int remove_oldest(self) except -1
    @cython.locals(oldest=Segment)
    cpdef int evict(self, long long keep_bytes) except -1
    cpdef int drop_until(self, long long sequence) except -1
    @cython.locals(segment=Segment, low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t)
    cpdef Segment find(self, long long sequence)
    @cython.locals(segment=Segment)
    cdef Segment find_lent(self, long long sequence)
    @cython.locals(segment=Segment)
    cpdef Py_ssize_t size_of(self, long long sequence) except -1
    @cython.locals(segment=Segment)
    cpdef long long first_timestamp_ns(self) except *
