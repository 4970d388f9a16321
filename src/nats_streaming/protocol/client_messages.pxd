cimport cython
from nats_streaming.byte_buffer cimport ByteBuffer, varint_size
from nats_streaming.protocol.protobuf cimport FieldReader

cdef int _VARINT, _LENGTH
cdef int _FIELD, _END


cdef class StoredMessage:
    cdef FieldReader reader
    cdef readonly unsigned long long sequence
    cdef readonly long long timestamp_ns
    cdef readonly bint redelivered
    cdef readonly unsigned int redelivery_count
    cdef readonly Py_ssize_t reply_start, reply_stop
    cdef readonly Py_ssize_t data_start, data_stop

    @cython.locals(reader=FieldReader, result=int, number="unsigned int")
    cpdef bint decode(self, data, Py_ssize_t start, Py_ssize_t stop) except *


cdef class PublishAckMessage:
    cdef FieldReader reader
    cdef readonly Py_ssize_t guid_start, guid_stop
    cdef readonly Py_ssize_t error_start, error_stop

    @cython.locals(reader=FieldReader, result=int, number="unsigned int")
    cpdef bint decode(self, data, Py_ssize_t start, Py_ssize_t stop) except *


@cython.locals(out=ByteBuffer)
cpdef bytes encode_publish(bytes client_field, bytes guid, bytes subject_field, bytes data, bytes identity_field)
cpdef int put_frame(ByteBuffer out, bytes head, bytes payload) except -1
@cython.locals(out=ByteBuffer)
cpdef bytes encode_ack(bytes subject_field, unsigned long long sequence)
@cython.locals(size=Py_ssize_t)
cpdef int put_ack_frame(ByteBuffer out, bytes head, bytes subject_field, unsigned long long sequence) except -1
