"""Masks, stacks, fingerprints, templates, rules."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.cnc.drain import templates
from processors.cnc.fingerprint import fingerprint
from processors.cnc.masking import masked
from processors.cnc.rules import RULES, judged
from processors.cnc.stacks import trace_of
from processors.cnc.verdict import Category, Severity, at_least, floor_of

PYTHON = """Traceback (most recent call last):
  File "/srv/shop/.venv/lib/python3.12/site-packages/starlette/routing.py", line 74, in app
    response = await f(request)
  File "/srv/shop/shop/orders.py", line {line}, in load_order
    cur.execute(q)
  File "/srv/shop/.venv/lib/python3.12/site-packages/psycopg/cursor.py", line 97, in execute
    raise ex.with_traceback(None)
psycopg.errors.QueryCanceled: canceling statement"""
NODE = """Error: read ECONNRESET
    at TLSWrap.onStreamRead (node:internal/stream_base_commons:217:20)
    at async Tickets.fetch (/app/dist/tickets.3fa9c1d2.js:{line}:21)
    at /app/node_modules/express/lib/router.js:12:3
    at async importEvents (/app/dist/import.js:41:18)"""
JAVA = """java.lang.IllegalStateException: no cart
    at com.shop.Cart.find(Cart.java:{line})
    at org.springframework.web.Dispatcher.run(Dispatcher.java:99)
    at java.base/java.lang.Thread.run(Thread.java:833)"""
GO = """panic: runtime error: index out of range

goroutine 1 [running]:
main.pay(0x1, 0x2)
\t/srv/app/pay.go:{line} +0x1b
runtime.main()
\t/usr/local/go/src/runtime/proc.go:250 +0x1"""
RUBY = """/srv/app/pay.rb:{line}:in 'charge': no card (Pay::NoCardError)
	from /usr/lib/ruby/gems/3.2/rack.rb:12:in 'call'"""
PHP = """PDOException: server has gone away
#0 /srv/app/vendor/orm/db.php(12): PDO->query()
#1 /srv/app/src/Pay.php({line}): Shop\\Db->run()"""
DOTNET = """System.NullReferenceException: Object reference not set
   at Shop.Pay.Run(String id) in C:\\src\\Shop\\Pay.cs:line {line}
   at System.Threading.Thread.Start()"""

STACKS = [
    (PYTHON, "psycopg.errors.QueryCanceled", ["shop/orders:load_order"]),
    (NODE, "Error", ["dist/<id>:Tickets.fetch", "dist/import:importEvents"]),
    (JAVA, "java.lang.IllegalStateException", ["Cart:com.shop.Cart.find"]),
    (GO, "panic", ["app/pay:main.pay"]),
    (RUBY, "", ["app/pay:charge"]),
    (PHP, "PDOException", ["src/Pay:Shop\\Db->run"]),
    (DOTNET, "System.NullReferenceException", ["Shop/Pay:Shop.Pay.Run"]),
]


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("user 4711 not found after 12ms", "user <num> not found after <num>"),
        ("job 0-019abc234def failed", "job <id> failed"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id <id>"),
        ("id 38092478-7019-547f-7a74-03929ed41ad0", "id <id>"),  # begins as a card does
        ("id 9c7d498a-8f76-dc87-5642-010190123456", "id <id>"),
        ("at 2026-11-26T10:20:30.5+01:00 and 10:20", "at <time> and <time>"),
        ("GET https://api.example/v1/x?y=1 gave 500", "GET <url> gave <num>"),
        ("GET https://u:p@api.example/v1 failed", "GET <url> failed"),
        ("connect 10.0.0.7:5432 refused", "connect <ip> refused"),
        ("no file /var/lib/x/y.txt here", "no file <path> here"),
        ("no file C:\\temp\\x.txt here", "no file <path> here"),
        ('relation "orders_7" does not exist', "relation <str> does not exist"),
        ("can't read 'spindle' of it's job", "can't read <str> of it's job"),
        ("pointer 0xdeadBEEF", "pointer <hex>"),
        ("ORA-00942 and E11000 and P2002 stay", "ORA-00942 and E11000 and P2002 stay"),
        ("not utf8, but sha256 or HTTP2", "not utf8, but sha256 or HTTP2"),
        ("  many   blanks\there ", "many blanks here"),
        ("12.5% of 3,000.5 MB in 4s.", "<num> of <num> MB in <num>."),
    ],
)
def test_masks(message, template):
    assert masked(message) == template


@given(st.text(max_size=120))
def test_a_masked_message_stays_as_it_is(message):
    assert masked(masked(message)) == masked(message)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.uuids(), st.uuids())
def test_messages_that_differ_in_numbers_and_ids_have_one_template(one, other, first, second):
    text = "order {} of {} failed at /srv/{}/x"
    assert masked(text.format(one, first, first)) == masked(text.format(other, second, second))


@pytest.mark.parametrize(("stack", "exception", "frames"), STACKS)
def test_stacks_of_seven_languages(stack, exception, frames):
    trace = trace_of("it failed", stack.format(line=12))
    assert trace.exception == exception
    assert [f"{one.module}:{one.function}" for one in trace.frames if one.in_app] == frames


@pytest.mark.parametrize("stack", [stack for stack, _, _ in STACKS])
def test_another_line_is_the_same_fingerprint_and_another_app_is_not(stack):
    def of(app, line, message="order 12 failed"):
        return fingerprint(app, trace_of(message, stack.format(line=line)), message)

    assert of("shop", 12) == of("shop", 345) == of("shop", 12, "order 99 failed")
    assert of("shop", 12) != of("etyde", 12)
    assert of("shop", 12) != of("shop", 12, "payment 12 failed")
    assert len(of("shop", 12)) == 16


def test_an_apps_own_grouping_goes_before_ours():
    one, other = trace_of("a", None), trace_of("TypeError: b", None)
    assert fingerprint("shop", one, "a", "mine") == fingerprint("shop", other, "b", "mine")
    assert fingerprint("shop", one, "a", "mine") != fingerprint("etyde", one, "a", "mine")


def test_a_type_in_the_message_counts_where_there_is_no_stack():
    assert trace_of("TypeError: x is not a function", None).exception == "TypeError"
    assert trace_of("x is not a function", None).exception == ""


@given(
    st.lists(
        st.lists(st.sampled_from(["user", "order", "failed", "for", "bo", "<num>"]), max_size=8),
        max_size=30,
    ),
    st.randoms(),
)
def test_templates_do_not_depend_on_the_order(lines, rng: random.Random):
    messages = [" ".join(words) for words in lines]
    shuffled = list(messages)
    rng.shuffle(shuffled)
    found = templates(messages)
    assert found == templates(shuffled)
    for message, template in found.items():
        assert all(
            one == other or one == "<*>"
            for one, other in zip(template.split(), message.split(), strict=True)
        )


def test_names_that_no_mask_knows_become_a_wildcard():
    names = ["anna", "bo", "eva", "ib"]
    found = templates(f"no access to the cart of {name} for now" for name in names)
    assert set(found.values()) == {"no access to the cart of <*> for now"}
    assert len(set(templates(["cart is gone", "user was here"]).values())) == 2


@pytest.mark.parametrize(
    ("line", "category"),
    [
        ("java.lang.OutOfMemoryError: Java heap space", Category.OUT_OF_MEMORY),
        ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap", "out_of_memory"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("connect ECONNREFUSED 127.0.0.1:5432", "network"),
        ("read ECONNRESET", "network"),
        ("getaddrinfo ENOTFOUND api.example", "network"),
        ("HTTP 429 from the API", "rate_limit"),
        ("status code 429", "rate_limit"),
        ("QueuePool limit of size 5 overflow 10 reached", "database"),
        ("deadlock detected", "database"),
        ("canceling statement due to statement timeout", "timeout"),
        ("duplicate key value violates unique constraint", "database"),
        ("certificate has expired", "configuration"),
        ("HTTP/1.1 401 Unauthorized", "authentication"),
        ("PermissionError: [Errno 13] Permission denied", "permission"),
        ("TimeoutError: waited 30 s", "timeout"),
        ("Error: Cannot find module 'left-pad'", "configuration"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x'", "not_found"),
        ("TypeError: Cannot read properties of undefined (reading 'a')", "bug"),
        ("pydantic.ValidationError: 1 validation error", "validation"),
        ("processed 429 rows of 401", None),
        ("the mill is too hot", None),
    ],
)
def test_rules(line, category):
    found = judged(["", line])
    assert (found and found.category) == category
    if found:
        assert found.evidence_line == line


def test_every_rule_says_what_to_do():
    for rule in RULES:
        assert rule.root_cause.endswith(".")
        assert rule.suggested_action.endswith(".")


@pytest.mark.parametrize(
    ("level", "env", "floor"),
    [
        ("fatal", "production", "critical"),
        ("fatal", "test", "high"),
        ("error", "prod", "medium"),
        ("error", "dev", "low"),
        ("warning", "Production", "low"),
        ("info", "production", "info"),
    ],
)
def test_the_least_severity_of_a_level(level, env, floor):
    assert floor_of(level, env) == floor
    assert at_least(Severity.INFO, Severity(floor)) == floor
    assert at_least(Severity.CRITICAL, Severity(floor)) == "critical"
