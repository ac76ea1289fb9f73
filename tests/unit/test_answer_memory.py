"""The memory of filtered answers: its limits for all callers and for each, and that all of it is released."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext_authz.answers.answer_memory import AnswerMemory
from ext_authz.answers.limits import MOST_BYTES, MOST_BYTES_OF_ONE, MOST_OPEN, MOST_OPEN_OF_ONE


def test_one_caller_takes_no_place_of_another() -> None:
    memory = AnswerMemory()
    assert [memory.open("one") for _ in range(MOST_OPEN_OF_ONE + 1)].count(False) == 1
    assert memory.open("other")
    assert memory.hold("other", MOST_BYTES_OF_ONE)
    assert not memory.hold("one", MOST_BYTES_OF_ONE + 1)
    assert memory.hold("other", 0)


def test_all_callers_together_have_a_limit_too() -> None:
    memory = AnswerMemory()
    callers = MOST_OPEN // MOST_OPEN_OF_ONE
    assert all(memory.open(f"{number}") for number in range(callers) for _ in range(MOST_OPEN_OF_ONE))
    assert not memory.open("one more")
    memory.close("0", 0)
    assert memory.open("one more")
    full = MOST_BYTES // MOST_BYTES_OF_ONE
    assert all(memory.hold(f"{number}", MOST_BYTES_OF_ONE) for number in range(full))
    assert not memory.hold("one more", 1)
    assert memory.hold("0", -MOST_BYTES_OF_ONE)
    assert memory.hold("0", 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, MOST_BYTES_OF_ONE)), max_size=30))
def test_the_last_answer_that_ends_leaves_no_bytes(answers: list[tuple[str, int]]) -> None:
    memory = AnswerMemory()
    for caller, size in answers:
        assert memory.open(caller)
        memory.hold(caller, size)
    for caller, size in answers:
        memory.close(caller, size)
    assert (memory.open_answers, memory.held_bytes) == (0, 0)
    assert memory.open("d")
    assert memory.hold("d", MOST_BYTES_OF_ONE)
