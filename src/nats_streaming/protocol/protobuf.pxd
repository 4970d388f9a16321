cimport cython

cdef int _VARINT, _FIXED64, _LENGTH, _GROUP_START, _GROUP_END, _FIXED32
cdef int _END, _FIELD, _MALFORMED
cdef int _GROUP_DEPTH_MAX


@cython.final
cdef class FieldReader:
    cdef readonly object data
    cdef const unsigned char *view
    cdef readonly Py_ssize_t position
    cdef readonly Py_ssize_t limit
    cdef readonly unsigned int number
    cdef readonly int wire
    cdef readonly unsigned long long value
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t stop

    cpdef int open(self, data, Py_ssize_t start, Py_ssize_t stop) except -1
    @cython.locals(key="unsigned long long")
    cpdef int next_field(self) noexcept
    @cython.locals(length="unsigned long long", remaining="unsigned long long")
    cdef int read_value(self) noexcept
    @cython.locals(view="const unsigned char *", position=Py_ssize_t, limit=Py_ssize_t, result="unsigned long long",
                   bits="unsigned long long", shift=int, octet="unsigned char")
    cpdef bint read_varint(self) noexcept
    cpdef int skip(self, Py_ssize_t count) noexcept
    @cython.locals(view="const unsigned char *", result="unsigned long long", octet="unsigned long long", index=int)
    cdef int read_fixed(self, int size) noexcept
    @cython.locals(key="unsigned long long", depth=int, number="unsigned int")
    cdef int skip_group(self) noexcept



cpdef long long to_signed(unsigned long long value) noexcept
@cython.locals(low="long long")
cpdef long long to_signed32(unsigned long long value) noexcept
