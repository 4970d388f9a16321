cimport cython
from nats_streaming.streaming.channel cimport Channel
from nats_streaming.streaming.in_flight cimport InFlight


@cython.final
cdef class QueueGroup:
    cdef readonly Channel channel
    cdef readonly bytes name
    cdef readonly bint is_durable
    cdef readonly list members
    cdef public long long last_sent
    cdef public bint on_hold
    cdef readonly dict redelivery_counts
    cdef public object offline
    cdef public bint handed_over


@cython.final
cdef class Subscription:
    cdef readonly Channel channel
    cdef public bytes client_id
    cdef public long long id
    cdef readonly bytes inbox
    cdef readonly bytes head
    cdef public bytes ack_inbox
    cdef public long long ack_token
    cdef public bytes durable_name
    cdef public bytes queue_name
    cdef public bint is_durable
    cdef public bint is_offline
    cdef public QueueGroup group
    cdef public long long max_in_flight
    cdef public long long ack_wait_ns
    cdef public long long last_sent
    cdef readonly InFlight in_flight
    cdef public dict redelivery_counts
    cdef public bint stalled
    cdef public bint on_hold
    cdef public bint failed_heartbeat
    cdef public bint eligible
    cdef public bint removed
    cdef public object timer
    cdef public bint timer_armed
    cdef public list sent
    cdef public list acked

    cpdef dict counts(self)
    cpdef bint acknowledge(self, long long sequence) except *
    cpdef bint is_released(self) noexcept
