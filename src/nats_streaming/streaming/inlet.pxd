cimport cython
from nats_streaming.protocol.nats_reader cimport MessageSink
from nats_streaming.protocol.stan_messages cimport AckMessage, PublishMessage, put_pub_ack_frame
from nats_streaming.streaming.channel cimport Channel
from nats_streaming.streaming.cycle cimport Cycle
from nats_streaming.streaming.message_window cimport MessageWindow
from nats_streaming.streaming.subscription cimport Subscription

cdef long _PUBLISH, _ACK, _RECOVERED, _PARTITION
cdef int _SLOT_BITS
cdef Py_ssize_t _REDELIVERY_ROOM


cdef class Inlet(MessageSink):
    cdef object engine
    cdef public Cycle cycle
    cdef PublishMessage publish_message
    cdef AckMessage ack_message
    cdef readonly dict clients
    cdef readonly dict connections
    cdef readonly dict channels
    cdef readonly list ack_slots
    cdef readonly dict recovered
    cdef Py_ssize_t ack_prefix_size
    cdef public Py_ssize_t batch_max
    cdef bint record_acked
    cdef public Py_ssize_t message_max
    cdef public str too_large
    cdef public bint fresh
    cdef public long long now_ns
    cdef public long long wall_ns
    cdef public bint trace
    cdef public bint debug

    cdef public bint partitioned
    cdef Channel last_channel
    cdef bytes last_identity
    cdef bint last_by_connection
    cdef readonly long long in_messages
    cdef readonly long long in_bytes
    cdef readonly long long staged_bytes
    cdef public list released
    cdef public list acked

    @cython.locals(token="long long")
    cpdef on_message(self, bytearray data, long sid, Py_ssize_t subject_start, Py_ssize_t subject_stop,
                         Py_ssize_t reply_start, Py_ssize_t reply_stop, Py_ssize_t payload_start,
                         Py_ssize_t payload_stop, int status)
    @cython.locals(message=PublishMessage, channel=Channel, sequence="long long", cycle=Cycle)
    cdef publish(self, bytearray data, Py_ssize_t subject_start, Py_ssize_t subject_stop, Py_ssize_t reply_start,
                     Py_ssize_t reply_stop, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t, by_connection=bint, identity=bytes, known=dict)
    cdef bint is_client(self, bytearray data, PublishMessage message) except *
    @cython.locals(view="const unsigned char *", token="long long", position=Py_ssize_t, digit="unsigned char")
    cdef long long token_at(self, bytearray data, Py_ssize_t start, Py_ssize_t stop) noexcept
    @cython.locals(slot=Py_ssize_t, subscription=Subscription)
    cdef int ack(self, bytearray data, long long token, Py_ssize_t start, Py_ssize_t stop) except -1
    @cython.locals(message=AckMessage, sequence="long long", holder=Subscription, other=Subscription, counts=dict)
    cdef ack_for(self, bytearray data, Subscription subscription, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(member=Subscription)
    cdef Subscription other_holder(self, Subscription subscription, long long sequence)


@cython.locals(size=Py_ssize_t, view="const unsigned char *", other="const unsigned char *", index=Py_ssize_t)
cdef bint same(bytes known, bytearray data, Py_ssize_t start, Py_ssize_t stop) noexcept
