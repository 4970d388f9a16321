cimport cython
from nats_streaming.streaming.cycle cimport Cycle
from nats_streaming.streaming.delivery cimport Delivery
from nats_streaming.streaming.inlet cimport Inlet


@cython.final
cdef class Context:
    cdef readonly object options
    cdef readonly object capabilities
    cdef readonly object clock
    cdef object _read_monotonic
    cdef object _read_wall
    cdef readonly object info
    cdef readonly object subjects
    cdef readonly long long now_ns
    cdef readonly long long wall_ns
    cdef readonly object timers
    cdef readonly object partition
    cdef readonly object early
    cdef readonly Delivery delivery
    cdef readonly object requests
    cdef readonly object residency
    cdef public list seeks
    cdef public long long last_subscription_id
    cdef readonly Inlet inlet

    cpdef int read_clock(self) except -1
