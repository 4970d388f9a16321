cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer
from nats_streaming.protocol.stan_messages cimport put_redelivery, redelivery_size
from nats_streaming.stores.segment cimport Segment
from nats_streaming.streaming.channel cimport Channel
from nats_streaming.streaming.in_flight cimport InFlight
from nats_streaming.streaming.message_window cimport MessageWindow
from nats_streaming.streaming.subscription cimport QueueGroup, Subscription

cdef int _SENT, _SKIPPED, _ABSENT, _REFUSED


@cython.final
cdef class Delivery:
    cdef readonly ByteBuffer out
    cdef public Py_ssize_t out_limit
    cdef public long long now_ns
    cdef public Py_ssize_t payload_max
    cdef public bint enabled
    cdef public bint trace
    cdef public bint record_sent
    cdef public long long out_messages
    cdef public long long out_bytes
    cdef readonly long long redeliveries
    cdef readonly long long stalls
    cdef public list unarmed
    cdef public list backlog
    cdef public list reads
    cdef public list sent

    @cython.locals(subscription=Subscription, group=QueueGroup)
    cpdef int deliver_channel(self, Channel channel) except -1
    @cython.locals(window=MessageWindow, in_flight=InFlight, sequence="long long", segment=Segment, result=int)
    cpdef deliver_subscription(self, Subscription subscription)
    @cython.locals(window=MessageWindow, sequence="long long", segment=Segment, member=Subscription)
    cpdef deliver_group(self, QueueGroup group)
    cdef int stall(self, Subscription subscription) except -1
    @cython.locals(member=Subscription, chosen=Subscription, second=Subscription, first=Subscription)
    cpdef Subscription choose_member(self, QueueGroup group)
    cpdef int track(self, Subscription subscription, long long sequence) except -1
    cdef int need_timer(self, Subscription subscription) except -1
    @cython.locals(index=Py_ssize_t, size=Py_ssize_t, out=ByteBuffer)
    cdef int send(self, Subscription subscription, Segment segment, long long sequence,
                  unsigned int redelivery_count) except -1
    @cython.locals(window=MessageWindow, segment=Segment, counts=dict, count="unsigned int", result=int)
    cpdef int redeliver(self, Subscription subscription, long long sequence, Subscription receiver) except -1
