"""What the gateway can be told. Nothing is read here: `ops.settings` fills it in."""

from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway's defaults, each with its unit."""

    host: str = "127.0.0.1"
    port: Port = 8470  # 0: any free port
    body_max_bytes: Positive = 1024 * 1024
    batch_body_max_bytes: Positive = 8 * 1024 * 1024  # POST /v1/jobs:batch only
    batch_jobs_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1_000
    depth_max: Annotated[int, msgspec.Meta(ge=4, le=200)] = 64  # nesting of a JSON body
    containers_max: Positive = 100_000  # objects and arrays in one JSON body
    body_read_s: Seconds = 10.0  # a body slower than this is refused
    url_max_bytes: Positive = 8 * 1024
    headers_max: Positive = 100  # headers of one request
    headers_max_bytes: Positive = 16 * 1024  # all of them together
    head_read_s: Seconds = 10.0  # URL and headers slower than this are refused
    idle_s: Seconds = 30.0  # a connection without a request is closed after that
    answer_stall_s: Seconds = 30.0  # so is one whose client does not read the answer
    connections_max: Positive = 800  # at once; beyond it 503
    streams_per_app_max: Positive = 100  # open event streams of one app at one gateway
    wait_max_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 60.0  # cap on `Prefer: wait`
    journal_folder: str = "~/.roughneck/journal"  # empty: no journal, Redis alone accepts
    accept_wait_ms: Positive = 250  # for Redis' answer to what is on disk; then `spooled`
    accept_wait_s: Seconds = 5.0  # a submit that the disk (no journal: Redis) has not taken: 503
    accept_pending_max: Positive = 20_000  # jobs that wait for their submit: beyond it 503
    spool_rows_max: Positive = 1_000_000  # jobs in the journal that are not in Redis
    spool_bytes_max: Positive = 1024 * 1024 * 1024  # of them
    spool_age_max_s: Positive = 259_200  # of the oldest; less than `engine.retention_s`
    memory_low_share: Share = 0.8  # of Redis' maxmemory; above it low priority is refused
    memory_spool_share: Share = 0.9  # above it everything stays in the journal
    class_waiting_max: Positive = 1_000_000  # jobs that wait in a resource class: beyond it 429
    refresh_s: Annotated[float, msgspec.Meta(gt=0, le=5)] = 2.0  # age of keys and manifests
    page_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 200  # items of one page
    stop_s: Seconds = 10.0  # requests under way may take this long when the gateway stops
    secret_overlap_s: Seconds = 86_400.0  # how long the old secret signs on after a rotation
    metrics_open_to_loopback: bool = True  # False: /metrics needs a key from anywhere
    blob_folder: str = "~/.roughneck/blobs"  # empty: no blobs
    blob_max_bytes: Positive = 256 * 1024 * 1024  # of one
    blob_app_max_bytes: Positive = 4 * 1024 * 1024 * 1024  # of one app's
    blob_disk_free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1024 * 1024 * 1024  # left to others
    blob_orphan_s: Positive = 86_400  # how long a blob is kept that no job refers to
    blob_url: str = ""  # where workers reach this gateway; empty: as it listens
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed
    audit_file: str = "~/.roughneck/audit.log"  # what operators did; empty: not kept
