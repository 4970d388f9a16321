"""What to do about damaged bytes: tell, keep them aside, or refuse, and the original's words for it.

By default nothing stops recovery: the bytes are copied aside, a finding says where they were, and what is
sound is served. With `strict` the original's error is raised, after the lines it logs before.

Source: stores specification, section 2.9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nats_streaming.errors import CorruptionError, quoted
from nats_streaming.stores.file.file_io import File, Files
from nats_streaming.stores.file.findings import Finding, Severity
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.quarantine import keep_aside
from nats_streaming.stores.file.record import (
    BAD_CRC,
    CUT,
    FILE_HEADER,
    FILE_HEADER_BYTES,
    FILE_VERSION,
    PADDING,
    RECORD_HEADER_BYTES,
    Checksum,
    RecordScan,
    read_u32,
)

UNEXPECTED_EOF = "unexpected EOF"
_DUMP_LINE_BYTES = 20
_DUMP_BYTES_MAX = 1 << 16


@dataclass(slots=True)
class Damage:
    """Judges what one recovery meets; one per channel, so that channels can be recovered at the same time.

    Attributes:
        mended_from: where in a file, by its path, begins what a replay will bring again; None if none follows.
    """

    files: Files
    options: FileOptions
    checksum: Checksum
    channel: bytes | None = None
    mended_from: Callable[[str], int] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def strict(self) -> bool:
        """Whether everything is as the original has it: after a crash of ours it is not."""
        return self.options.strict and self.mended_from is None

    def refuses(self, path: str, offset: int) -> bool:
        """Whether damage at this place of a file stops the start."""
        return self.options.strict and (self.mended_from is None or offset < self.mended_from(path))

    def tell(
        self, severity: Severity, text: str, file: str = "", offset: int = 0, stop: int = 0, kept: str = ""
    ) -> None:
        self.findings.append(Finding(severity, text, file, offset, stop or offset, kept, self.channel))

    def keep(self, path: str, start: int, stop: int, what: str, severity: Severity = Severity.ERROR) -> None:
        """Copy damaged bytes aside and tell.

        Args:
            path: of the damaged file.
            start, stop: where the bytes lie.
            what: what is wrong with them, and what is lost by it.
            severity: WARNING when nothing is.
        """
        kept = keep_aside(self.files, path, start, stop) if stop > start else ""
        copy = f", kept as {quoted(kept)}" if kept else ""
        self.tell(severity, f"File {quoted(path)}, offset {start} to {stop}: {what}{copy}", path, start, stop, kept)

    def compare_size(self, path: str, size: int, sealed: int) -> None:
        """Tell if a file is shorter than it was when the server stopped."""
        if size < sealed:
            text = f"File {quoted(path)} has {size} bytes, and had {sealed} when this server stopped:"
            text += " its end is missing, or another server has rewritten it"
            self.tell(Severity.WARNING, text, path, size, sealed)

    def check_header(self, path: str, file: File) -> bool:
        """Whether a file begins with the version that is known.

        Raises:
            CorruptionError: it does not, with `strict`.
        """
        header = file.pread(0, FILE_HEADER_BYTES)
        if header == FILE_HEADER:
            return True
        if len(header) < FILE_HEADER_BYTES:
            error = f"unable to verify file version: {UNEXPECTED_EOF if header else 'EOF'}"
        else:
            error = f"unsupported file version: {read_u32(header, 0)} (supports [{FILE_VERSION}..{FILE_VERSION}])"
        if self.refuses(path, 0):
            raise CorruptionError(error)
        self.keep(path, 0, len(header), error)
        return False

    def tell_record(self, path: str, file: File, offset: int, result: int, scan: RecordScan, typed: bool) -> str:
        """The original's lines about a record that cannot be read; returns its error."""
        error = record_error(result, scan)
        if result == CUT:
            self.tell(Severity.ERROR, f"Unexpected EOF for file {quoted(path)}", path, offset)
            if not self.options.truncate_bad_eof:
                root = quoted(self.options.directory)
                for line in (
                    f"It is recommended that you make a copy of the whole datatstore {root}.",
                    f"Restart with the ContinueOnUnexpectedEOF flag to truncate this file to this offset: {offset}.",
                    "Dataloss may occur. Details about the first corrupted record follows...",
                ):
                    self.tell(Severity.ERROR, line, path, offset)
        else:
            self.tell(Severity.ERROR, f"Corrupted record in file {quoted(path)}: {error}", path, offset)
        header = file.pread(offset, RECORD_HEADER_BYTES)
        part, expected, read = "record header", RECORD_HEADER_BYTES, len(header)
        lines = ["Record header:", " Bytes:", *dump_lines(header, False)]
        if len(header) == RECORD_HEADER_BYTES:
            word, crc = read_u32(header, 0), read_u32(header, 4)
            size = word & 0xFFFFFF if typed else word
            if typed:
                lines.append(f" Type: {word >> 24}")
            payload = file.pread(offset + RECORD_HEADER_BYTES, size)
            part, expected, read = "record payload", size, len(payload)
            lines += [f" Size: {size}", f" CRC : 0x{crc:08x}", "Record payload:"]
            lines += dump_lines(payload[:_DUMP_BYTES_MAX], True)
        if result == CUT and not self.options.truncate_bad_eof:
            lines.append(f"{part} expected to be {expected} bytes, only read {read}")
        for line in lines:
            self.tell(Severity.ERROR, line, path, offset)
        return error

    def cut_bad_end(self, path: str, file: File, offset: int) -> None:
        """Cut a partial record off, as `truncate_bad_eof` asks for; it is kept aside nevertheless."""
        keep_aside(self.files, path, offset, file.size())
        file.truncate(offset)
        file.sync()
        self.tell(Severity.INFO, f"File {quoted(path)} has been truncated to offset: {offset}", path, offset)
        self.tell(Severity.INFO, "Recovery resumes...", path, offset)


def record_error(result: int, scan: RecordScan) -> str:
    """The original's text for a record that ended a scan."""
    if result == CUT:
        return UNEXPECTED_EOF
    if result == BAD_CRC:
        return f"corrupted data, expected crc to be 0x{scan.stored:08x}, got 0x{scan.computed:08x}"
    if result == PADDING:
        return "zeros in place of a record"
    return "the record cannot be decoded"


def dump_lines(data: bytes, printable: bool) -> list[str]:
    """Bytes as hex pairs, 20 a line, with their text beside them if asked for."""
    lines = []
    for start in range(0, len(data), _DUMP_LINE_BYTES):
        piece = data[start : start + _DUMP_LINE_BYTES]
        line = piece.hex(" ")
        if printable:
            text = "".join(chr(octet) if 32 <= octet < 128 else "." for octet in piece)
            line += " " * (3 * (_DUMP_LINE_BYTES - len(piece))) + " - " + text
        lines.append(line)
    return lines


def all_zero(data: bytes) -> bool:
    return not data.strip(b"\0")
