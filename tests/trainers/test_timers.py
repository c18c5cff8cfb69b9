"""Timers with a clock that only moves when the test says so."""

import json
import sys

import pytest

from trainers.timers import Timers

SECOND = 1_000_000_000


class FakeClock:
    def __init__(self):
        self.now = 5 * SECOND

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def timers(clock):
    return Timers(clock=clock, wall_clock=lambda: 1_700_000_000.9 + clock.now / SECOND)


def test_shares_are_those_of_the_wall_time_since_the_start(timers, clock):
    for _ in range(2):
        with timers.phase("environment"):
            clock.wait(3)
        with timers.phase("update"):
            clock.wait(1)
        clock.wait(1)  # in no phase
    assert timers.seconds == 10
    assert timers.shares() == {"environment": 0.6, "update": 0.2}


def test_shares_count_a_phase_that_is_still_open(timers, clock):
    clock.wait(1)
    with timers.phase("update"):
        clock.wait(3)
        assert timers.shares() == {"update": 0.75}


def test_shares_at_the_very_start_are_nothing_rather_than_a_division_by_zero(timers):
    with timers.phase("environment"):
        pass
    assert timers.shares() == {"environment": 0.0}


def test_the_tree_has_total_count_self_and_children_in_seconds(timers, clock):
    for wait in (1.0, 2.0):
        with timers.phase("environment"):
            clock.wait(0.5)
            with timers.phase("wait"):
                clock.wait(wait)
    clock.wait(6)
    tree = timers.to_dict()
    assert (tree["name"], tree["total"], tree["count"], tree["self"]) == ("root", 10.0, 1, 6.0)
    environment = tree["children"]["environment"]
    assert (environment["total"], environment["count"], environment["self"]) == (4.0, 2, 1.0)
    assert environment["children"] == {"wait": {"total": 3.0, "count": 2, "self": 3.0}}


def test_the_same_name_in_two_places_is_two_phases(timers, clock):
    with timers.phase("act"):
        clock.wait(1)
        with timers.phase("act"):
            clock.wait(2)
    with timers.phase("update"), timers.phase("act"):
        clock.wait(4)
    children = timers.to_dict()["children"]
    assert children["act"]["total"] == 3.0
    assert children["act"]["children"]["act"]["total"] == 2.0
    assert children["update"]["children"]["act"]["total"] == 4.0


def test_a_phase_that_ends_by_an_exception_is_closed_and_the_exception_goes_on(timers, clock):
    with pytest.raises(KeyError), timers.phase("environment"), timers.phase("wait"):
        clock.wait(1)
        raise KeyError("gone")
    with timers.phase("update"):
        clock.wait(1)
    assert timers.shares() == {"environment": 0.5, "update": 0.5}


def test_gauges_keep_value_least_greatest_and_count(timers):
    for value in (3.0, -1.0, 2.0, float("nan"), float("inf")):
        timers.gauge("3DBall.Policy.Entropy.mean", value)
    assert timers.to_dict()["gauges"] == {
        "3DBall.Policy.Entropy.mean": {"value": 2.0, "min": -1.0, "max": 3.0, "count": 3}
    }


def test_metadata_are_strings_with_version_command_line_and_times(timers, clock, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["other", "arguments"])  # those of the start count
    clock.wait(60)
    timers.metadata["communication_protocol_version"] = "1.5.0"
    metadata = timers.to_dict()["metadata"]
    assert metadata["timer_format_version"] == "0.1.0"
    assert metadata["start_time_seconds"] == "1700000005"
    assert metadata["end_time_seconds"] == "1700000065"
    assert metadata["communication_protocol_version"] == "1.5.0"
    assert metadata["command_line_arguments"] != "other arguments"
    assert metadata["numpy_version"].startswith("2")
    assert {"python_version", "pytorch_version", "mlagents_envs_version", "mlagents_bridge_version"} <= set(metadata)
    assert all(isinstance(value, str) for value in metadata.values())


def test_the_whole_is_json_even_while_phases_are_open(timers, clock):
    with timers.phase("environment"):
        clock.wait(2)
        tree = json.loads(json.dumps(timers.to_dict(), allow_nan=False))
    assert tree["children"]["environment"] == {"total": 2.0, "count": 0, "self": 2.0}


def test_a_trace_has_every_entry_in_microseconds_from_the_start(clock):
    timers = Timers(clock, traced=True)
    clock.wait(1)
    with timers.phase("environment"), timers.phase("wait"):
        clock.wait(2)
    assert [(event["name"], event["ts"], event["dur"]) for event in timers.trace()["traceEvents"]] == [
        ("wait", 1e6, 2e6),
        ("environment", 1e6, 2e6),
    ]


def test_a_phase_costs_little():
    timers = Timers()
    for _ in range(20_000):
        with timers.phase("step"):
            pass
    assert timers.to_dict()["children"]["step"]["count"] == 20_000
    assert timers.seconds < 1.0  # 50 microseconds a phase would be far too slow; about one is usual
