"""What a model must not read does not get to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.builtin.cnc_error_classify import ErrorIn, data_of
from processors.cnc.masking import masked
from processors.cnc.secrecy import concealed, concealed_fields, is_card

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# A long random word of letters and digits, as keys are.
tokens = st.text(LETTERS, min_size=20, max_size=60).map(lambda text: f"aB1{text}9Z2")
PLACES = (
    "Authorization: Bearer {}",
    "authorization=bearer {} was refused",
    '{{"Authorization": "Basic {}"}}',
    "GET https://user:{}@api.example/v1",
    "GET /v1?access_token={}&page=2",
    "password={}",
    "password: '{}'",
    '"client_secret": "{}",',
    "the api key is {}",
    "Cookie: session={}; theme=dark",
    "token {} has expired",
    "{}",
    "bearer%20{}",
    "x-api-key: {}",
)


@given(tokens, st.sampled_from(PLACES), st.sampled_from(["", "before ", "a\nb "]))
def test_a_token_never_stays(token, place, before):
    text = f"{before}{place.format(token)} after"
    assert token not in concealed(text)
    assert token not in masked(text)


@given(tokens, st.sampled_from(PLACES), st.sampled_from(["message", "stack", "context"]))
def test_a_token_in_an_error_never_reaches_a_prompt(token, place, part):
    text = place.format(token)
    fields = {"message": "it failed", "stack": "", "context": {}}
    fields[part] = {"header": text, "api_key": token} if part == "context" else text
    error = ErrorIn(
        app="cnc", env="production", timestamp="2026-11-26T08:00:00Z", level="error", **fields
    )
    assert token not in str(data_of(error))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mail to jens.holm@cnc.example bounced", "mail to <email> bounced"),
        ("from=ole%40vejle.dk", "from=<email>"),
        ("eyJhbGciOi.eyJzdWIiOiIx.c2ln is bad", "<secret> is bad"),
        ("cpr 010190-1234 unknown", "cpr <cpr> unknown"),
        ("card 4111 1111 1111 1111 declined", "card <card> declined"),
        ("order 4111111111111112 declined", "order 4111111111111112 declined"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key <secret> used"),
        ("ghp_abcdefghijklmnop1234 used", "<secret> used"),
        ("password is hunter2", "password is <secret>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----x", "<secret>x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "<secret>"),
        # What tells something about an error stays.
        ("connect ECONNREFUSED 127.0.0.1:5432", "connect ECONNREFUSED 127.0.0.1:5432"),
        ("password authentication failed for user", "password authentication failed for user"),
        ("at org.shop.payment.PaymentServiceImpl", "at org.shop.payment.PaymentServiceImpl"),
        ("/srv/app/node_modules/express/lib/router", "/srv/app/node_modules/express/lib/router"),
    ],
)
def test_what_goes_and_what_stays(text, kept):
    assert concealed(text) == kept


@given(st.text(max_size=200))
def test_concealing_again_changes_nothing_that_matters(text):
    once = concealed(text)
    assert concealed(once) == once


def test_a_field_with_the_name_of_a_secret_is_not_shown():
    fields = {"api_key": "x", "DB_PASSWORD": "hej", "host": "a@b.dk", "keyboard": "da", "n": 4}
    assert concealed_fields(fields) == {
        "api_key": "<secret>",
        "DB_PASSWORD": "<secret>",
        "host": "<email>",
        "keyboard": "da",
        "n": "4",
    }


@pytest.mark.parametrize(
    "number", ["4111111111111111", "5500 0000 0000 0004", "4000-0000-0000-0002"]
)
def test_card_numbers_are_known_by_their_check_digit(number):
    assert is_card(number)
    assert not is_card(number[:-1] + ("1" if number[-1] != "1" else "3"))
