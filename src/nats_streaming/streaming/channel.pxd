cimport cython
from nats_streaming.streaming.message_window cimport MessageWindow


@cython.final
cdef class Channel:
    cdef readonly bytes name
    cdef readonly bytes subject_field
    cdef readonly object limits
    cdef readonly bint expires
    cdef readonly MessageWindow window
    cdef public list subscriptions
    cdef public list groups
    cdef readonly dict by_inbox
    cdef readonly dict durables
    cdef readonly dict groups_by_name
    cdef public Py_ssize_t subscription_count
    cdef public long long last_subscription_id
    cdef public long long staged_from
    cdef public long long trimmed_to
    cdef public dict reading
    cdef public list failed_reads
    cdef public bint front_wanted
    cdef public bint being_deleted
    cdef public bint removed
    cdef public bint limit_reported
    cdef public object expiry_timer
    cdef public object inactivity_timer
    cdef public long long last_publish_ns
