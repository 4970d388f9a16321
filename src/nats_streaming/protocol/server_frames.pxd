cimport cython

from nats_streaming.protocol.frame_router cimport Target

cdef Py_ssize_t _LINE_LIMIT, _FACTOR_LIMIT, _PAYLOAD_LIMIT, _NOBODY_SIZE
cdef int _LF, _CR, _SPACE, _PLUS
cdef bytes _NOBODY


cdef class Fence:
    cdef readonly Py_ssize_t pong
    cdef readonly list sids
    cdef readonly bint is_start


cdef class FrameScanner:
    cdef readonly dict targets
    cdef readonly list ended
    cdef readonly list fences
    cdef readonly dict ended_sids
    cdef readonly list cuts
    cdef readonly Py_ssize_t wanted
    cdef readonly Py_ssize_t pongs
    cdef readonly bint lost
    cdef readonly bint are_ours
    cdef bint _is_ours

    @cython.locals(view="const unsigned char *", position=Py_ssize_t, line=Py_ssize_t, at=Py_ssize_t,
                   size=Py_ssize_t, factor=Py_ssize_t, end=Py_ssize_t, start=Py_ssize_t, first="unsigned char",
                   is_cut=bint)
    cpdef Py_ssize_t whole(self, bytearray data, Py_ssize_t stop) except -1
    @cython.locals(fence=Fence)
    cdef bint on_pong(self) except *
    @cython.locals(view="const unsigned char *", position=Py_ssize_t, stop=Py_ssize_t, sid=bytes, target=Target)
    cdef bint count(self, bytearray data, Py_ssize_t start, Py_ssize_t line, Py_ssize_t size) except *


@cython.locals(view="const unsigned char *", other="const unsigned char *", index=Py_ssize_t)
cdef bint is_nobody(bytearray data, Py_ssize_t start) noexcept
