cimport cython

cdef Py_ssize_t _PAYLOAD_LIMIT
cdef int _CR, _LF, _SPACE, _TAB


cdef class MessageSink:
    # Returns an object so that a subclass written in plain Python may return None.
    cpdef on_message(self, bytearray data, long sid, Py_ssize_t subject_start, Py_ssize_t subject_stop,
                     Py_ssize_t reply_start, Py_ssize_t reply_stop, Py_ssize_t payload_start,
                     Py_ssize_t payload_stop, int status)


cdef class NatsReader:
    cdef readonly MessageSink sink
    cdef readonly object control
    cdef Py_ssize_t chunk_bytes
    cdef bytearray buffer
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t stop
    cdef readonly Py_ssize_t wanted
    cdef readonly Py_ssize_t scanned

    cpdef buffer_updated(self, Py_ssize_t count)
    @cython.locals(view="const unsigned char *", start=Py_ssize_t, stop=Py_ssize_t, position=Py_ssize_t,
                   line_stop=Py_ssize_t, first="unsigned char")
    cdef bint parse_frame(self) except -1
    @cython.locals(view="const unsigned char *")
    cdef bint is_msg(self, Py_ssize_t start) noexcept
    @cython.locals(view="const unsigned char *", tokens=int, token_start=Py_ssize_t, subject_start=Py_ssize_t,
                   subject_stop=Py_ssize_t, second_start=Py_ssize_t, second_stop=Py_ssize_t, third_start=Py_ssize_t,
                   third_stop=Py_ssize_t, fourth_start=Py_ssize_t, fourth_stop=Py_ssize_t, fifth_start=Py_ssize_t,
                   fifth_stop=Py_ssize_t, reply_start=Py_ssize_t, reply_stop=Py_ssize_t, header_size=Py_ssize_t,
                   size=Py_ssize_t, sid=long, end=Py_ssize_t, status=int)
    cdef bint parse_message(self, Py_ssize_t position, Py_ssize_t line_stop, Py_ssize_t body, bint headers) except -1
    @cython.locals(view="const unsigned char *", result=Py_ssize_t, position=Py_ssize_t, digit="unsigned char")
    cdef Py_ssize_t parse_number(self, Py_ssize_t start, Py_ssize_t stop) except -1
    @cython.locals(view="const unsigned char *", position=Py_ssize_t, status=int, digits=int)
    cdef int header_status(self, Py_ssize_t start, Py_ssize_t stop) noexcept
