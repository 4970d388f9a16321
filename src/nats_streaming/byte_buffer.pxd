cimport cython


@cython.final
cdef class ByteBuffer:
    cdef readonly bytearray data
    cdef readonly Py_ssize_t used

    @cython.locals(need=Py_ssize_t, have=Py_ssize_t, times=Py_ssize_t)
    cpdef int reserve(self, Py_ssize_t count) except -1
    cpdef int put(self, bytes source) except -1
    @cython.locals(count=Py_ssize_t, used=Py_ssize_t, index=Py_ssize_t, out="unsigned char *", view="const unsigned char *")
    cpdef int put_slice(self, source, Py_ssize_t start, Py_ssize_t stop) except -1
    @cython.locals(out="unsigned char *")
    cpdef int put_byte(self, unsigned char value) except -1
    @cython.locals(out="unsigned char *", used=Py_ssize_t, rest="unsigned long long")
    cpdef int put_varint(self, unsigned long long value) except -1
    @cython.locals(value="unsigned long long")
    cpdef int put_varints(self, list values) except -1
    @cython.locals(out="unsigned char *", at=Py_ssize_t, digits=Py_ssize_t, rest="unsigned long long")
    cpdef int put_decimal(self, unsigned long long value) except -1
    cpdef int put_buffer(self, ByteBuffer other) except -1
    cpdef int shrink(self) except -1
    cpdef int truncate(self, Py_ssize_t used) except -1
    cpdef bytes take(self)
    cpdef bytes view(self)


@cython.locals(size=Py_ssize_t, rest="unsigned long long")
cpdef Py_ssize_t varint_size(unsigned long long value) noexcept
