from pipelines.teacher.ledger import Bound, Caps, Ledger, Totals
from pipelines.teacher.request import TeacherReply, TeacherRequest
from pipelines.teacher.spending import past_answers, shown_spending, spent_by_model, told_totals


def ask(ledger: Ledger, model: str, text: str, cost: float, prompt_version: str = "p1") -> None:
    """One settled request."""
    request = TeacherRequest(model, ({"role": "user", "content": text},), {"max_tokens": 9}, "u", prompt_version)
    attempt = ledger.reserve(request, Bound(100, 1.0), Caps(), "b")
    ledger.mark_sent(attempt)
    ledger.settle(attempt, TeacherReply(request.key, "{}", "stop", 30, len(text), 1, "now", cost))
    ledger.judge(request.key, text, "accepted")


def test_the_ledger_tells_what_each_model_took_and_what_an_answer_takes(tmp_path, caplog):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/l.sqlite")
    seen: list[Totals] = []
    with caplog.at_level("INFO"), shown_spending(ledger, "b", Caps(max_cost=2.0), 3, seen.append):
        ask(ledger, "cheap", "aa", 0.25)
        ask(ledger, "dear", "bbbb", 0.75)
        ask(ledger, "dear", "bbbbbb", 0.5, "p2")
    dear, cheap = spent_by_model(ledger, "b")
    assert (dear.model, dear.requests, dear.tokens, dear.cost) == ("dear", 2, 70, 1.25)
    assert (cheap.model, cheap.cost) == ("cheap", 0.25)
    assert spent_by_model(ledger, "another") == []
    answers = past_answers(ledger, "dear", "u", "p1")
    assert (answers.count, answers.prompt_tokens, answers.completion_tokens) == (1, 30.0, 4.0)
    assert past_answers(ledger, "dear", "elsewhere", "p1").count == 0
    assert "1.5000 of at most 2.0000 USD, 3 requests" in caplog.text
    assert seen[-1] == ledger.totals("b")
    ledger.close()


def test_what_is_in_doubt_is_said():
    told = told_totals(Totals(requests=1200, tokens=5, in_doubt=2), Caps(max_requests=2000))
    assert told == "1,200 of at most 2,000 requests, 5 tokens, of these 2 in doubt, counted in full"
