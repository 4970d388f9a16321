"""Samples of perf, and the stages they are counted for."""

from __future__ import annotations

import pytest

from bench.suite.stages import KERNEL, OTHER_KERNEL, OTHER_OURS, Sample, divide, read_samples, stage_of, stage_order
from tests.tidy.test_sources import compiled_list

SCRIPT = """\
nats-streaming- 4100/4100
\tffffffff81aa0001 _copy_to_iter ([kernel.kallsyms])
\tffffffff81aa0002 tcp_recvmsg_locked ([kernel.kallsyms])
\tffffffff81aa0003 __x64_sys_read ([kernel.kallsyms])
\t           941b7 __libc_read (/usr/lib/libc.so.6)

nats server 4101/4109
\t           2117a github.com/nats-io/nats-server/v2/server.(*client).parse (/opt/some place (1)/nats-server)

nats-streaming- 4100/4102
\t               0 [unknown] ([unknown])
"""

READER = "nats_reader.cpython-311-x86_64-linux-gnu.so"
MESSAGES = "stan_messages.cpython-311-x86_64-linux-gnu.so"


def test_samples_are_read_with_process_and_stack() -> None:
    assert list(read_samples(SCRIPT.splitlines())) == [
        Sample(
            4100,
            (
                ("_copy_to_iter", KERNEL),
                ("tcp_recvmsg_locked", KERNEL),
                ("__x64_sys_read", KERNEL),
                ("__libc_read", "libc.so.6"),
            ),
        ),
        Sample(4101, (("github.com/nats-io/nats-server/v2/server.(*client).parse", "nats-server"),)),
        Sample(4100, (("[unknown]", "[unknown]"),)),
    ]


@pytest.mark.parametrize(
    ("frames", "stage"),
    [
        ([("__pyx_f_NatsReader_parse_message", READER)], "parse NATS frames"),
        ([("__pyx_f_PublishMessage_decode", MESSAGES)], "decode STAN messages"),
        ([("__pyx_f_put_pub_ack_frame", MESSAGES)], "encode acks and deliveries"),
        ([("_PyEval_EvalFrameDefault", "libpython3.11.so.1.0")], "interpreted Python"),
        ([("main", "python3.12")], "interpreted Python"),
        ([("crc32_z", "libz.so.1")], "checksums"),
        ([("strange", "libstrange.so")], OTHER_OURS),
        ([("memcpy", KERNEL), ("ext4_buffered_write_iter", KERNEL), ("ksys_write", KERNEL)], "system calls: disk"),
        ([("_raw_spin_unlock", KERNEL), ("tcp_sendmsg", KERNEL), ("ksys_write", KERNEL)], "system calls: send"),
        ([("schedule", KERNEL), ("do_epoll_wait", KERNEL)], "system calls: wait for events"),
        ([("clear_page_erms", KERNEL), ("exc_page_fault", KERNEL)], "memory: page faults, mapping"),
        ([("fput", KERNEL), ("do_syscall_64", KERNEL)], "system calls: others"),
        # What called the kernel does not decide.
        ([("handle_softirqs", KERNEL), ("epoll_wait", "libc.so.6")], OTHER_KERNEL),
    ],
)
def test_stages_of_our_process(frames: list[tuple[str, str]], stage: str) -> None:
    assert stage_of(Sample(1, tuple(frames)), is_ours=True) == stage
    assert stage in stage_order(is_ours=True)


@pytest.mark.parametrize(
    ("symbol", "stage"),
    [
        ("runtime.mallocgcSmallNoscan", "Go runtime: memory, scheduling"),
        ("sync.(*RWMutex).Unlock", "Go runtime: memory, scheduling"),
        ("github.com/nats-io/nats-server/v2/server.(*client).processPub", "nats-server's own code"),
    ],
)
def test_stages_of_nats_server(symbol: str, stage: str) -> None:
    assert stage_of(Sample(1, ((symbol, "nats-server"),)), is_ours=False) == stage
    assert stage in stage_order(is_ours=False)


def test_every_compiled_module_has_a_stage() -> None:
    modules = [name.rsplit(".", 1)[-1] for name in compiled_list()]
    samples = {name: Sample(1, (("__pyx_f_something", f"{name}.cpython-311-x86_64-linux-gnu.so"),)) for name in modules}
    assert not [name for name, sample in samples.items() if stage_of(sample, is_ours=True) == OTHER_OURS]


def test_the_time_is_divided_by_the_shares_of_the_samples() -> None:
    samples = [Sample(1, (("f", READER),))] * 3 + [Sample(1, (("f", MESSAGES),))]
    assert divide(samples, 2.0, is_ours=True) == {"parse NATS frames": 1.5, "decode STAN messages": 0.5}


def test_without_a_sample_nothing_is_divided() -> None:
    with pytest.raises(ValueError, match="no sample"):
        divide([], 2.0, is_ours=True)
