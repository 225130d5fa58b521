import signal
from contextlib import closing

import pytest

from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from tests.fake_teacher import FakeTeacher
from tests.teacher_kills import POINTS, answer, check, check_cap, finish, start


@pytest.mark.slow
def test_runs_killed_at_every_point_among_faults_end_each_clip_once_and_pay_for_none_twice(tmp_path):
    """The small version of `python -m tests.teacher_kills`."""
    ledger, limits = f"sqlite:///{tmp_path}/ledger.sqlite", Limits(max_tokens=300_000, at_once=4)
    with FakeTeacher(answer=answer, faults=0.3, seed=1) as fake:
        tight = Limits(max_requests=7, at_once=4)
        for point in ("after send", "after mark"):  # the second has too little left to come so far
            start(fake.url, ledger, 30, tight, die_at=point).join(60)
            check_cap(fake, ledger, tight)
        for point in POINTS:
            child = start(fake.url, ledger, 30, limits, die_at=point)
            child.join(60)
            assert child.exitcode == -signal.SIGKILL
        check(fake, ledger, finish(fake, ledger, 30, limits), limits)
    with closing(Ledger.open(ledger)) as opened:
        assert opened.totals("kills").in_doubt >= 4  # all points but the first and the last lose an answer
