"""What needs no model: errors that say themselves what they are. The first rule that fits wins."""

import re
from collections.abc import Iterable

import msgspec

from processors.cnc.verdict import Category, Confidence, Severity, Verdict


class Rule(msgspec.Struct, frozen=True):
    """A pattern and what is said of an error that has it. `{0}` is what was matched."""

    pattern: re.Pattern[str]
    category: Category
    severity: Severity
    retryable: bool
    component: str
    root_cause: str
    suggested_action: str


def rule(
    pattern: str,
    kind: tuple[Category, Severity, bool],
    component: str,
    root_cause: str,
    action: str,
) -> Rule:
    """A row of the table."""
    category, severity, retryable = kind
    compiled = re.compile(pattern, re.IGNORECASE)
    return Rule(compiled, category, severity, retryable, component, root_cause, action)


LINES_MAX, LINE_MAX = 200, 2_000  # that are looked at
STATUS = (
    r"\b(?:status|code|http(?:/\d(?:\.\d)?)?)\b\W{0,3}(?:code\W{0,3})?"  # before a number of HTTP
)

OOM = (Category.OUT_OF_MEMORY, Severity.CRITICAL, False)
AWAY = (Category.NETWORK, Severity.HIGH, True)
SLOW = (Category.TIMEOUT, Severity.MEDIUM, True)

RULES = (
    rule(
        r"out of memory|OutOfMemoryError|MemoryError\b|heap limit|oom[- ]?kill"
        r"|cannot allocate memory"
        r"|OOMKilled|\bENOMEM\b|allocation failed - JavaScript heap",
        OOM,
        "memory",
        "The process needed more memory than it may have.",
        "Find what grows (a heap snapshot), bound it, or give the process more memory.",
    ),
    rule(
        r"no space left on device|\bENOSPC\b|disk quota exceeded|\bEDQUOT\b"
        r"|database or disk is full",
        (Category.DISK, Severity.CRITICAL, False),
        "disk",
        "The disk is full.",
        "Free space, then find what fills it: logs, uploads, temporary files.",
    ),
    rule(
        rf"{STATUS}429\b|too many requests|rate.?limit(?:ed| exceeded)|quota exceeded"
        r"|ThrottlingException",
        (Category.RATE_LIMIT, Severity.MEDIUM, True),
        "remote service",
        "Another service refuses more requests for now.",
        "Wait as long as Retry-After says; lower the rate or batch the calls.",
    ),
    rule(
        r"deadlock detected|Lock wait timeout|could not serialize access|database is locked"
        r"|SQLITE_BUSY",
        (Category.DATABASE, Severity.MEDIUM, True),
        "database",
        "Two transactions were in each other's way.",
        "Try the transaction again; take locks in one order and keep transactions short.",
    ),
    rule(
        r"too many (?:clients|connections)|remaining connection slots"
        r"|connection pool (?:exhausted|timeout)"
        r"|QueuePool limit|Timeout acquiring a connection",
        (Category.DATABASE, Severity.HIGH, True),
        "database connections",
        "There are more clients than the database takes connections.",
        "Look for connections that are not given back; bound the pool or put a pooler in between.",
    ),
    rule(
        r"canceling statement due to statement timeout|QueryCanceled|max_execution_time exceeded"
        r"|statement timeout",
        (Category.TIMEOUT, Severity.HIGH, True),
        "database",
        "A query ran longer than the database allows.",
        "Explain the query: an index may be missing, or it waits for a lock.",
    ),
    rule(
        r"duplicate key value|unique constraint|UniqueViolation|E11000|ER_DUP_ENTRY|P2002",
        (Category.DATABASE, Severity.LOW, False),
        "database",
        "A row with this key is there already.",
        "Make the write idempotent (upsert), or answer the caller with a conflict.",
    ),
    rule(
        r"\bECONNREFUSED\b|connection refused",
        AWAY,
        "network",
        "Nothing listens where the connection goes.",
        "See whether the other side runs and whether address and port are right.",
    ),
    rule(
        r"\bECONNRESET\b|connection reset|\bEPIPE\b|broken pipe|socket hang up"
        r"|server closed the connection"
        r"|RemoteProtocolError|connection aborted",
        (Category.NETWORK, Severity.MEDIUM, True),
        "network",
        "The other side closed the connection in the middle.",
        "Try again; if it stays, compare idle timeouts of both sides and what stands between.",
    ),
    rule(
        r"\bENOTFOUND\b|\bEAI_AGAIN\b|getaddrinfo|name or service not known"
        r"|temporary failure in name resolution"
        r"|no such host|NXDOMAIN",
        AWAY,
        "DNS",
        "The host's name could not be resolved.",
        "Check the name in the settings and the resolver of the machine.",
    ),
    rule(
        r"\bEHOSTUNREACH\b|\bENETUNREACH\b|no route to host|network is unreachable",
        AWAY,
        "network",
        "There is no way to the host.",
        "Check VPN, routes and firewall between the two machines.",
    ),
    rule(
        r"certificate (?:has expired|verify failed|is not yet valid)|CERT_HAS_EXPIRED"
        r"|SSLCertVerification"
        r"|self.signed certificate|UNABLE_TO_VERIFY_LEAF",
        (Category.CONFIGURATION, Severity.HIGH, False),
        "TLS",
        "The certificate of the other side is not accepted.",
        "Renew it, or trust its issuer; check the clock of this machine.",
    ),
    rule(
        rf"{STATUS}50[234]\b|\b50[234] (?:bad gateway|service unavailable|gateway time-?out)"
        r"|service unavailable"
        r"|upstream (?:connect error|timed out)",
        AWAY,
        "remote service",
        "The service behind the gateway does not answer.",
        "See whether it runs; try again with a growing pause.",
    ),
    rule(
        r"\bETIMEDOUT\b|\bESOCKETTIMEDOUT\b|timed? ?out|TimeoutError|ReadTimeout|deadline exceeded"
        r"|TimeoutException",
        SLOW,
        "remote service",
        "The other side did not answer in time.",
        "Look at how long it takes there; try again, and raise the limit only if it has to be.",
    ),
    rule(
        rf"{STATUS}401\b|unauthori[sz]ed|authentication failed|password authentication"
        r"|invalid (?:api.?key|token)"
        r"|token (?:has )?expired|jwt expired|ExpiredSignature",
        (Category.AUTHENTICATION, Severity.HIGH, False),
        "credentials",
        "The credentials were not accepted.",
        "Renew the token or key, and check that this environment has the right one.",
    ),
    rule(
        rf"{STATUS}403\b|forbidden|permission denied|\bEACCES\b|\bEPERM\b"
        r"|access denied|not authorized"
        r"|AccessDenied",
        (Category.PERMISSION, Severity.MEDIUM, False),
        "permissions",
        "Who asks may not do this.",
        "Give the user or role the right, or do not ask for it.",
    ),
    rule(
        r"relation \"?\S+\"? does not exist|no such (?:table|column)|Unknown column"
        r"|UndefinedTable"
        r"|UndefinedColumn",
        (Category.DATABASE, Severity.HIGH, False),
        "database schema",
        "Code and database schema do not belong together.",
        "Run the migrations of this version, or roll the code back.",
    ),
    rule(
        r"ModuleNotFoundError|Cannot find module|ClassNotFoundException|NoClassDefFoundError"
        r"|missing (?:required )?(?:environment variable|setting|config)"
        r"|KeyError: '[A-Z][A-Z0-9_]{3,}'",
        (Category.CONFIGURATION, Severity.HIGH, False),
        "deployment",
        "Something that the code needs is not installed or not set.",
        "Compare the deployment with what this version needs.",
    ),
    rule(
        r"\bENOENT\b|no such file or directory|FileNotFoundError",
        (Category.NOT_FOUND, Severity.MEDIUM, False),
        "files",
        "A file is not where the code looks for it.",
        "Check the path, and whether the step before wrote it.",
    ),
    rule(
        r"NullPointerException|Cannot read propert(?:y|ies) of (?:undefined|null)"
        r"|is not a function"
        r"|'NoneType' object|nil pointer dereference|AttributeError:|IndexError:"
        r"|index out of range"
        r"|ZeroDivisionError|undefined is not|AssertionError|UnboundLocalError|NameError:",
        (Category.BUG, Severity.MEDIUM, False),
        "code",
        "The code met a value that it does not expect.",
        "Look at the top frame of the app; add the missing check and a test with this input.",
    ),
    rule(
        r"ValidationError|validation failed|invalid input|JSONDecodeError"
        r"|Unexpected token .{1,20} in JSON"
        r"|UnicodeDecodeError|invalid literal for",
        (Category.VALIDATION, Severity.LOW, False),
        "input",
        "The input does not have the form that is expected.",
        "Answer the caller with what is wrong; log a sample of the input without persons in it.",
    ),
)


def judged(lines: Iterable[str]) -> Verdict | None:
    """The verdict of the first rule that fits a line, with that line as evidence; else None.

    Rules go before lines: an error that says several things is what the first rule says it is.
    """
    kept = [line[:LINE_MAX] for line in lines][:LINES_MAX]
    for one in RULES:
        for line in kept:
            if one.pattern.search(line):
                return Verdict(
                    category=one.category,
                    severity=one.severity,
                    component=one.component,
                    root_cause=one.root_cause,
                    evidence_line=line.strip(),
                    retryable=one.retryable,
                    suggested_action=one.suggested_action,
                    confidence=Confidence.HIGH,
                )
    return None
