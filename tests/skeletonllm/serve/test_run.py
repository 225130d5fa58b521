import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.serve.limits import Limits
from skeletonllm.serve.run import check_host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_only_this_machine_needs_no_key(host):
    check_host(host, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "myhost.example"])
def test_an_address_that_others_reach_needs_a_key(host):
    check_host(host, "hush")
    with pytest.raises(ConfigError, match=f"--host {host}: others reach this address"):
        check_host(host, "")


def test_a_limit_of_nothing_is_told():
    with pytest.raises(ConfigError, match="--max-waiting is 0"):
        Limits(max_waiting=0)
