"""What the host of processors can be told. Nothing is read here: `ops.settings` fills it in."""

import msgspec


class ProcessorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The host's defaults, each with its unit."""

    folders: tuple[str, ...] = ()  # extra folders with processors
    result_max_bytes: int = 16 * 1024 * 1024
    dependency_check_s: float = 10.0  # the longest a dependency may take to answer at boot
    stop_grace_s: float = 2.0  # between asking an attempt to stop and ending it
    cpu_jobs_max: int = 200  # jobs that one child process runs before a fresh one follows
    cpu_idle_max: int = 4  # child processes kept warm
    cpu_files_max: int = 256  # open files of one child process
    cpu_memory_max_bytes: int = 0  # address space of one child process; 0: no limit; Linux only
    cpu_output_max_bytes: int = 64 * 1024  # printed output that is logged for one attempt
