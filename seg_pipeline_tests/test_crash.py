"""Runs that are killed leave tables old or new, and running again repairs; the long form is `make crash-test`."""

import pytest

from seg_pipeline_tests.crash import crash_test


@pytest.mark.whole_run
def test_a_killed_night_is_what_it_was_or_will_be_and_running_again_repairs_it(tmp_path):
    outcome = crash_test(tmp_path, kills=3, chosen=["night"])
    assert outcome.faults == []
    assert outcome.kills == 3
