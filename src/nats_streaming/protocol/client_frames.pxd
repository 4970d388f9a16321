cimport cython

from nats_streaming.protocol.nats_reader cimport MessageSink

cdef Py_ssize_t _ARGUMENT_LIMIT, _LINE_LIMIT, _PAYLOAD_LIMIT, _DIGITS_LIMIT
cdef int _LF, _CR, _SPACE, _TAB, _DOT, _BRACE
cdef int _GO_ON, _WAIT
cdef bytes _NSUB, _ONNECT


cdef class Offers:
    cdef public MessageSink sink
    cdef public Py_ssize_t payload_max
    cdef public Py_ssize_t taps
    cdef readonly list roots
    cdef readonly dict literals

    @cython.locals(view="const unsigned char *", size=Py_ssize_t, count=Py_ssize_t, position=Py_ssize_t,
                   octet="unsigned char", root=bytes, rest=bint, sid=long)
    cdef long sid_of(self, bytearray data, Py_ssize_t start, Py_ssize_t stop) except -1


cdef class ClientReader:
    cdef readonly object control
    cdef readonly Offers offers
    cdef public bint takes
    cdef readonly bint spoilt
    cdef public bint blind
    cdef public Py_ssize_t taken
    cdef readonly Py_ssize_t pings
    cdef readonly Py_ssize_t steps
    cdef readonly Py_ssize_t wanted

    @cython.locals(view="const unsigned char *", position=Py_ssize_t, passed=Py_ssize_t, line=Py_ssize_t,
                   body=Py_ssize_t, end=Py_ssize_t, argument=Py_ssize_t, returns=Py_ssize_t, was_blind=bint,
                   first="unsigned char", answer=int)
    cpdef Py_ssize_t parse(self, bytearray data, Py_ssize_t stop) except -1
    @cython.locals(view="const unsigned char *", headers=bint, tokens=int, token_start=Py_ssize_t,
                   subject_start=Py_ssize_t, subject_stop=Py_ssize_t, reply_start=Py_ssize_t, reply_stop=Py_ssize_t,
                   last_start=Py_ssize_t, last_stop=Py_ssize_t, header_start=Py_ssize_t, header_stop=Py_ssize_t, header_size=Py_ssize_t,
                   size=Py_ssize_t, end=Py_ssize_t, sid=long,
                   offers=Offers, sink=MessageSink)
    cdef Py_ssize_t publish(self, bytearray data, Py_ssize_t start, Py_ssize_t position, Py_ssize_t line,
                            Py_ssize_t body, Py_ssize_t stop, Py_ssize_t passed) except *
    @cython.locals(view="const unsigned char *", result=Py_ssize_t, position=Py_ssize_t, digit="unsigned char")
    cdef Py_ssize_t number(self, bytearray data, Py_ssize_t start, Py_ssize_t stop) noexcept


@cython.locals(view="const unsigned char *", other="const unsigned char *", index=Py_ssize_t)
cdef bint begins(bytearray data, Py_ssize_t start, bytes root, Py_ssize_t count) noexcept
@cython.locals(view="const unsigned char *", first="unsigned char", second="unsigned char", position=Py_ssize_t)
cdef Py_ssize_t argument_of(bytearray data, Py_ssize_t start, Py_ssize_t line) noexcept
@cython.locals(view="const unsigned char *", other="const unsigned char *", index=Py_ssize_t)
cdef bint equals_small(bytearray data, Py_ssize_t start, bytes letters) noexcept
@cython.locals(view="const unsigned char *")
cdef bint is_reserved(bytearray data, Py_ssize_t start, Py_ssize_t stop) noexcept
cdef bint is_operation(unsigned char first) noexcept
