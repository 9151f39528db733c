"""What the host of processors can be told. Nothing is read here: `ops.settings` fills it in."""

from typing import Annotated

import msgspec

Bytes = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class ProcessorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The host's defaults, each with its unit."""

    folders: tuple[str, ...] = ()  # extra folders with processors
    result_max_bytes: Bytes = 64 * 1024 * 1024
    dependency_check_s: Seconds = 10.0  # the longest a dependency may take to answer at boot
    stop_grace_s: Seconds = 2.0  # between asking an attempt to stop and ending it
    cpu_jobs_max: Count = 200  # jobs that one child process runs before a fresh one follows
    cpu_idle_max: Annotated[int, msgspec.Meta(ge=0)] = 4  # child processes kept warm
    cpu_files_max: Annotated[int, msgspec.Meta(ge=32)] = 256  # open files of one child process
    # Address space of one child process; 0: no limit. Has no effect on macOS.
    cpu_memory_max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    cpu_output_max_bytes: Bytes = 64 * 1024  # printed output that is logged for one attempt
