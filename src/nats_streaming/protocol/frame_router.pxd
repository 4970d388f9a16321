cimport cython

from nats_streaming.byte_buffer cimport ByteBuffer

cdef int _SPACE, _LF
cdef bytes _MSG


cdef class Outlet:
    cdef readonly object owner
    cdef readonly ByteBuffer out
    cdef public bint is_filled
    cdef public bint is_held


cdef class Target:
    cdef readonly Outlet outlet
    cdef readonly bytes tail
    cdef public Py_ssize_t delivered
    cdef public Py_ssize_t relayed
    cdef public Py_ssize_t limit


cdef class Route:
    cdef public list targets
    cdef public list queues
    cdef public bint is_direct
    cdef public Py_ssize_t version


cdef class RouteTable:
    cdef readonly dict routes
    cdef public Py_ssize_t version

    cpdef find(self, bytes subject)
    cpdef recheck(self, bytes subject, Route route)
    cpdef on_limit(self, Target target)


cdef class FrameRouter:
    cdef readonly RouteTable table
    cdef readonly ByteBuffer rest
    cdef readonly list filled
    cdef unsigned long long _dice

    @cython.locals(view="const unsigned char *", total=Py_ssize_t, table=RouteTable, route=Route, position=Py_ssize_t,
                   passed=Py_ssize_t, subject_start=Py_ssize_t, subject_stop=Py_ssize_t, start=Py_ssize_t,
                   at=Py_ssize_t, stop=Py_ssize_t, size=Py_ssize_t, factor=Py_ssize_t, back=Py_ssize_t,
                   end=Py_ssize_t, outlet=Outlet, out=ByteBuffer, target=Target)
    cpdef bytes split(self, bytes frames)
    @cython.locals(targets=list, members=list)
    cdef list drawn(self, Route route)
    @cython.locals(table=RouteTable, route=Route)
    cdef Route route(self, bytes subject)


@cython.locals(view="const unsigned char *", index=Py_ssize_t)
cdef bint equals(bytes frames, Py_ssize_t start, Py_ssize_t other, Py_ssize_t count) noexcept
