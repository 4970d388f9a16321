cimport cython

cdef int _NONE
cdef Py_ssize_t _CAPACITY_FIRST
cdef long long _GOLDEN, _LOW_BITS


@cython.final
cdef class InFlight:
    cdef readonly Py_ssize_t count
    cdef int head
    cdef int tail
    cdef int free
    cdef Py_ssize_t capacity
    cdef long long mask
    cdef int shift
    cdef int[::1] table
    cdef long long[::1] sequences
    cdef long long[::1] deadlines
    cdef int[::1] next
    cdef int[::1] previous

    @cython.locals(slot=Py_ssize_t, slots=Py_ssize_t, entry=int)
    cdef int allocate(self, Py_ssize_t capacity) except -1
    @cython.locals(old_sequences="long long[::1]", old_deadlines="long long[::1]", old_next="int[::1]", entry=int)
    cdef int resize(self, Py_ssize_t capacity) except -1
    cdef Py_ssize_t home_of(self, long long sequence) noexcept
    @cython.locals(slot=Py_ssize_t)
    cdef Py_ssize_t slot_of(self, long long sequence) noexcept
    @cython.locals(slot=Py_ssize_t, entry=int)
    cpdef int add(self, long long sequence, long long deadline_ns) except -1
    @cython.locals(before=int, after=int)
    cdef int link(self, int entry, long long deadline_ns) noexcept
    @cython.locals(before=int, after=int)
    cdef int unlink(self, int entry) noexcept
    @cython.locals(slot=Py_ssize_t, entry=int)
    cpdef bint remove(self, long long sequence) except *
    @cython.locals(gap=Py_ssize_t, probe=Py_ssize_t, home=Py_ssize_t, entry=int)
    cdef int close_gap(self, Py_ssize_t slot) noexcept
    cpdef bint contains(self, long long sequence) noexcept
    @cython.locals(entry=int)
    cpdef long long deadline_of(self, long long sequence) noexcept
    cpdef long long first_deadline(self) noexcept
    @cython.locals(entry=int, found=list)
    cpdef list due(self, long long now_ns)
