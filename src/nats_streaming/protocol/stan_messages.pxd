cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer, varint_size
from nats_streaming.protocol.protobuf cimport FieldReader

cdef int _VARINT, _LENGTH
cdef int _FIELD, _END


cdef class PublishMessage:
    cdef FieldReader reader
    cdef readonly Py_ssize_t client_id_start, client_id_stop
    cdef readonly Py_ssize_t guid_start, guid_stop
    cdef readonly Py_ssize_t subject_start, subject_stop
    cdef readonly Py_ssize_t reply_start, reply_stop
    cdef readonly Py_ssize_t data_start, data_stop
    cdef readonly Py_ssize_t connection_id_start, connection_id_stop

    @cython.locals(reader=FieldReader, result=int, number="unsigned int")
    cpdef bint decode(self, data, Py_ssize_t start, Py_ssize_t stop) except *


cdef class AckMessage:
    cdef FieldReader reader
    cdef readonly Py_ssize_t subject_start, subject_stop
    cdef readonly unsigned long long sequence

    @cython.locals(reader=FieldReader, result=int)
    cpdef bint decode(self, data, Py_ssize_t start, Py_ssize_t stop) except *


@cython.locals(out=ByteBuffer)
cpdef bytes length_field(int number, bytes value)

cpdef int put_message(ByteBuffer out, unsigned long long sequence, bytes subject_field, source,
                      Py_ssize_t reply_start, Py_ssize_t reply_stop, Py_ssize_t data_start, Py_ssize_t data_stop,
                      long long timestamp_ns) except -1
cpdef Py_ssize_t redelivery_size(unsigned int count) noexcept
cpdef int put_redelivery(ByteBuffer out, unsigned int count) except -1
@cython.locals(guid=Py_ssize_t)
cpdef int put_pub_ack_frame(ByteBuffer out, bytearray source, Py_ssize_t reply_start, Py_ssize_t reply_stop,
                            Py_ssize_t guid_start, Py_ssize_t guid_stop) except -1
