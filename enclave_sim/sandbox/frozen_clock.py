"""Take the clocks away that are read without a system call.

The kernel maps code (vDSO) and the data behind it (vvar) into every process, from which the time is read. Here the
data is unmapped, and the code replaced by stubs that say that it is 1 January 1970, always: honest programs that time
themselves go on working. The processor's own counters (rdtsc, rdtscp, rdpru) raise SIGSEGV from then on. What is left,
the system calls and the legacy vsyscall page (which the kernel runs as those system calls), seccomp refuses.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path

from enclave_sim import kernel

_SECTION_OF_SYMBOLS, _EXECUTABLE = 11, 4
_BREAKPOINT = b"\xcc"
# Every stub returns 0 in rax and stores 0 where a pointer was given; the last one says -ENOSYS.
_STORE_16_AT_RSI = bytes.fromhex("31c0 4885f6 7407 488906 48894608 c3")
_STORE_16_AT_RDI = bytes.fromhex("31c0 4885ff 7407 488907 48894708 c3")
_STORE_8_AT_RDI = bytes.fromhex("31c0 4885ff 7403 488907 c3")
_NO_SUCH_CALL = bytes.fromhex("48c7c0daffffff c3")
_STUBS = {
    "clock_gettime": _STORE_16_AT_RSI,
    "clock_getres": _STORE_16_AT_RSI,
    "gettimeofday": _STORE_16_AT_RDI,
    "time": _STORE_8_AT_RDI,
}


@dataclass(frozen=True)
class Mapping:
    """Of /proc/self/maps: [start, end), its protection such as `r-xp`, its name or nothing."""

    start: int
    end: int
    protection: str
    name: str


def mappings() -> list[Mapping]:
    """All of this process; raises OSError without /proc."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, protection, _offset, _device, _inode, *name = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in place.split("-"))
        found.append(Mapping(start, end, protection, name[0] if name else ""))
    return found


@dataclass(frozen=True)
class FrozenClock:
    """What replaces the vDSO, and what is unmapped."""

    address: int
    code: bytes
    data: tuple[tuple[int, int], ...]

    def install(self) -> None:
        """In this process, which must have one thread only; raises OSError. There is no way back."""
        kernel.replace_code(self.address, self.code)
        for start, end in self.data:
            kernel.unmap(start, end - start)
        kernel.prctl(kernel.PR_SET_TSC, kernel.PR_TSC_SIGSEGV)


def frozen_clock() -> FrozenClock:
    """For this process and its forks; raises OSError, ValueError where this kernel's vDSO cannot be read."""
    everything = mappings()
    (vdso,) = [mapping for mapping in everything if mapping.name == "[vdso]"]
    data = tuple((mapping.start, mapping.end) for mapping in everything if mapping.name.startswith("[vvar"))
    return FrozenClock(vdso.start, with_stubs(ctypes.string_at(vdso.start, vdso.end - vdso.start)), data)


def with_stubs(vdso: bytes) -> bytes:
    """An ELF image whose code is all breakpoints but for stubs at its functions; raises ValueError."""
    sections = _sections(vdso)
    image = bytearray(vdso)
    for section in sections:
        if section.flags & _EXECUTABLE:
            image[section.offset : section.offset + section.size] = _BREAKPOINT * section.size
    symbols = [section for section in sections if section.kind == _SECTION_OF_SYMBOLS]
    if not symbols:
        raise ValueError("the vDSO names no functions")
    names = sections[symbols[0].link]
    for at in range(symbols[0].offset, symbols[0].offset + symbols[0].size, 24):
        name, info, _other, section_index, value, size = struct.unpack_from("<IBBHQQ", vdso, at)
        if section_index == 0 or info & 15 != 2:  # not here, or not a function
            continue
        start = names.offset + name
        text = vdso[start : vdso.index(b"\0", start)].decode().removeprefix("__vdso_")
        stub = _STUBS.get(text, _NO_SUCH_CALL)
        if size < len(stub):
            raise ValueError(f"no room for a stub of {text}")
        image[value : value + len(stub)] = stub
    return bytes(image)


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def _sections(image: bytes) -> list[_Section]:
    if image[:5] != b"\x7fELF\x02":
        raise ValueError("the vDSO is not ELF of 64 bit")
    (table,) = struct.unpack_from("<Q", image, 40)
    size, count = struct.unpack_from("<HH", image, 58)
    found = []
    for index in range(count):
        _name, kind, flags, _address, offset, length, link = struct.unpack_from("<IIQQQQI", image, table + index * size)
        found.append(_Section(kind, flags, offset, length, link))
    return found
