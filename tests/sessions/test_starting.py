from runtime.sessions.starting import MAX_FAILURES, delay_after


def test_the_wait_doubles_up_to_a_minute_and_then_ends() -> None:
    # P3
    assert [delay_after(n) for n in range(6)] == [0.0, 5.0, 10.0, 20.0, 40.0, None]
    assert delay_after(MAX_FAILURES + 100) is None
