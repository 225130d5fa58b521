import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.answer.address import PREFIX, Rules, check_peer, check_url, parse_address
from skeletonllm.errors import ConfigError


def test_an_address_is_given_or_of_the_environment_or_openais():
    assert parse_address("openai:org/m@http://localhost:8000/v1").url == "http://localhost:8000/v1"
    assert parse_address("openai:m", "https://h/v1").url == "https://h/v1"
    assert parse_address("openai:m").url == "https://api.openai.com/v1"
    assert "hush" not in repr(parse_address("openai:m", key="hush"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no model"),
        ("m@http://user:hush@host/v1", "model openai:m: it holds a user name or a password"),
        ("m@http://", "does not begin with"),
        ("m@http://[::1/v1", "it is no address"),
        ("m@https://host/v1?api_key=hush", "may hold a key"),
    ],
)
def test_an_impossible_address_is_told_without_its_password(text, said):
    with pytest.raises(ConfigError, match=said) as raised:
        parse_address(PREFIX + text)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("key", ["ключ", "two words", "a\nb"])
def test_a_key_that_no_header_can_hold_is_told_without_it(key):
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as raised:
        parse_address("openai:m", key=key)
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://x.openai.azure.com/openai/v1/?api-version=preview",
        "http://localhost:8000/v1",
        "http://127.0.0.1:1/v1",
        "http://[::1]:1/v1",
        "http://0.0.0.0:8000/v1",
    ],
)
def test_an_address_over_https_or_on_this_machine_may_be_asked(url):
    check_url(url, "here")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000", "here: it does not begin with http"),
        ("me:hush@host/v1", "does not begin with"),
        ("ftp://host/v1", "does not begin with"),
        ("https://hush@host", "user name or a password"),
        ("https://host/v1#hush", "may hold a key"),
        ("https://host/v1?hush", "may hold a key"),
        ("https://host:hush/v1", "no address"),
        ("http://example.org/v1", "http://example.org is not encrypted.*SKELETONLLM_TEACHER_INSECURE=1"),
        ("http://192.168.0.7/v1", "not encrypted"),
        ("http://localhost.example.org/v1", "not encrypted"),
        ("http://8.8.8.8/v1", "across the internet without encryption"),
        ("https://169.254.169.254/v1", "own credentials"),
        ("https://[fe80::1]/v1", "own credentials"),
        ("https://[::ffff:169.254.169.254]/v1", "own credentials"),
        ("https://[fd00:ec2::254]/v1", "own credentials"),
    ],
)
def test_any_other_address_is_refused_and_no_secret_of_it_is_shown(url, said):
    with pytest.raises(ConfigError, match=said) as raised:
        check_url(url, "here")
    assert "hush" not in str(raised.value)


def test_a_private_network_may_be_trusted():
    check_url("http://192.168.0.7/v1", "here", Rules(allow_http=True))
    check_url("http://gpu-box/v1", "here", Rules(allow_http=True))
    for url in ("http://8.8.8.8/v1", "http://169.254.169.254/v1"):
        with pytest.raises(ConfigError):
            check_url(url, "here", Rules(allow_http=True))


def test_only_hosts_of_the_list_may_be_asked():
    rules = Rules(("api.openai.com", "*.azure.com"))
    for url in ("https://API.openai.com/v1", "https://api.openai.com./v1", "https://x.azure.com"):
        check_url(url, "here", rules)
    for host in ("openai.com", "api.openai.com.evil.org", "azure.com", "xazure.com", "localhost"):
        with pytest.raises(ConfigError, match=f"host {host} is not in SKELETONLLM_TEACHER_HOSTS"):
            check_url(f"https://{host}/v1", "here", rules)


@given(st.ip_addresses(network="169.254.0.0/16") | st.ip_addresses(network="fe80::/10"))
def test_no_link_local_machine_is_asked_however_it_is_written(address):
    forms = [address]
    if isinstance(address, ipaddress.IPv4Address):
        forms.append(ipaddress.ip_address(f"::ffff:{address}"))
    for form in forms:
        with pytest.raises(ConfigError):
            check_peer(form, "here", encrypted=True)


@given(st.text(), st.sampled_from(["", "http://", "https://", "https://host"]))
def test_any_text_is_an_address_or_a_config_error(text, front):
    with contextlib.suppress(ConfigError):
        check_url(front + text, "here")
