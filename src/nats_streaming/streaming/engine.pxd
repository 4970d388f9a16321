cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer
from nats_streaming.streaming.channel cimport Channel
from nats_streaming.streaming.context cimport Context
from nats_streaming.streaming.cycle cimport Cycle
from nats_streaming.streaming.delivery cimport Delivery
from nats_streaming.streaming.inlet cimport Inlet
from nats_streaming.streaming.message_window cimport MessageWindow
from nats_streaming.stores.segment cimport Segment


@cython.final
cdef class Engine:
    cdef readonly Context context
    cdef public long long ack_serial
    cdef readonly list free_ack_slots
    cdef readonly Inlet inlet
    cdef readonly object redelivery
    cdef readonly object channels
    cdef readonly object subscriptions
    cdef readonly object clients
    cdef readonly object recovery
    cdef public list ended_sids
    cdef Delivery _delivery
    cdef object _residency
    cdef object _timers
    cdef object _ready

    cpdef int begin_chunk(self) except -1
    cpdef int end_chunk(self) except -1
    @cython.locals(delivery=Delivery, inlet=Inlet, released=list)
    cdef int _serve_released(self) except -1
    cpdef bint has_backlog(self) except *
    @cython.locals(cycle=Cycle, channel=Channel)
    cpdef cut(self)
    @cython.locals(window=MessageWindow, first="long long", sequence="long long", last="long long", segment=Segment)
    cdef int _add_messages(self, Cycle cycle, Channel channel) except -1
    cpdef long long staged_bytes(self, Cycle ended) except *
    cpdef bint wants_commit(self) except *
    cpdef Cycle next_batch(self)
    @cython.locals(delivery=Delivery, out=ByteBuffer, channel=Channel, window=MessageWindow, first="long long",
                   last="long long", appended="long long")
    cpdef int batch_committed(self, Cycle cycle) except -1
    @cython.locals(out=ByteBuffer)
    cpdef bytes take_output(self)
    cpdef bint wants_reads(self) except *
