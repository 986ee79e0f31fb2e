"""The simulations against queueing theory, and the arithmetic of capacity."""

from __future__ import annotations

import math

import pytest

from bench import capacity, report
from bench.simulation import slots
from bench.simulation.fleet import Fleet, simulate

# --- the fleet ------------------------------------------------------------------------------------------------


def test_one_slot_with_a_constant_latency_waits_as_long_as_an_m_d_1_queue() -> None:
    """Pollaczek and Khinchine: the mean wait is rho·s / (2·(1 - rho))."""
    fleet = Fleet(slots=1, latency=1.0, sigma=0.0, arrival_rate=0.7, carts=60_000)
    waits = simulate(fleet).waits
    assert sum(waits) / len(waits) == pytest.approx(0.7 / (2 * 0.3), rel=0.06)


def test_one_slot_with_a_lognormal_latency_waits_as_long_as_an_m_g_1_queue() -> None:
    """The same, times 1 + the squared coefficient of variation, which is exp(sigma²) - 1."""
    fleet = Fleet(slots=1, latency=1.0, sigma=0.5, arrival_rate=0.6, carts=60_000)
    waits = simulate(fleet).waits
    assert sum(waits) / len(waits) == pytest.approx(0.6 / (2 * 0.4) * math.exp(0.25), rel=0.06)


def test_with_slots_to_spare_nearly_nothing_waits() -> None:
    """An M/D/32 queue at half its load."""
    found = simulate(Fleet(slots=32, latency=2.0, sigma=0.0, arrival_rate=8.0, carts=20_000))
    assert sum(found.waits) / len(found.waits) < 0.01


def test_littles_law_holds() -> None:
    """What is in the system on average = the rate of arrival times the mean stay."""
    rate = 12.0
    found = simulate(Fleet(arrival_rate=rate, carts=20_000))
    in_service = found.busy / found.finished
    stay_in_service = (sum(found.delays) - sum(found.waits)) / len(found.delays)
    assert in_service == pytest.approx(rate * stay_in_service, rel=0.03)


def test_a_backlog_goes_as_fast_as_the_slots_allow() -> None:
    found = simulate(Fleet(instances=2, latency=2.0, sigma=0.0, carts=6_400))
    assert found.rate == pytest.approx(2 * 32 / 2.0)
    assert found.wasted == 0


@pytest.mark.parametrize("gate", [True, False])
def test_the_service_never_admits_more_than_it_may(gate: bool) -> None:
    found = simulate(Fleet(instances=10, admitted=20.0, carts=6_000, gate=gate))
    # the last period is not filled, and what it admitted is served after it
    assert found.rate <= 20.0 * (1 + 60 / found.finished)
    assert len(found.delays) == 6_000
    assert found.calls == 6_000 + found.wasted


def test_the_gate_avoids_most_of_the_wasted_calls() -> None:
    closed, none = (simulate(Fleet(instances=10, admitted=20.0, carts=6_000, gate=gate)) for gate in (True, False))
    assert closed.wasted < none.wasted / 10


def test_the_same_seed_gives_the_same_result() -> None:
    assert simulate(Fleet(carts=500)) == simulate(Fleet(carts=500))
    assert simulate(Fleet(carts=500, seed=2)) != simulate(Fleet(carts=500))


# --- the slots ------------------------------------------------------------------------------------------------


def test_a_constant_latency_wastes_nothing_whatever_the_batch() -> None:
    for batch, rest in slots.PAIRS:
        if (batch + rest) % batch == 0:
            assert slots.utilization(batch, rest, sigma=0, fetch=0.0) == pytest.approx(1.0, rel=0.01)


def test_batches_of_one_without_fetch_time_keep_every_slot_busy() -> None:
    assert slots.utilization(1, 31, fetch=0.0) == pytest.approx(1.0, rel=0.01)


def test_32_and_0_waits_for_the_slowest_of_32() -> None:
    """The share is the mean over the mean of the largest of 32: about 0.39 for a lognormal with sigma 0.5."""
    assert slots.utilization(32, 0, fetch=0.0, carts=60_000) == pytest.approx(0.39, abs=0.02)


def test_smaller_batches_use_more_and_the_pair_of_host_json_at_least_nine_tenths() -> None:
    by_pair = {pair: slots.utilization(*pair) for pair in slots.PAIRS}
    assert sorted(by_pair.values()) == list(by_pair.values())
    assert by_pair[4, 28] >= 0.9


# --- capacity -------------------------------------------------------------------------------------------------


def test_a_load_needs_as_many_instances_as_its_slots_take() -> None:
    assert capacity.instances_for(3_600, latency=2.0) == 1
    per_instance = 32 * 0.85 / 2.0 * 3_600
    assert capacity.instances_for(per_instance * 10, latency=2.0) == 10
    assert capacity.instances_for(per_instance * 10 + 1, latency=2.0) == 11


def test_the_capacity_page_says_what_the_script_computes() -> None:
    page = capacity.DOCUMENT.read_text(encoding="utf-8")
    for name, made in {"slots": capacity.slots(), "instances": capacity.instances()}.items():
        assert report.replace_section(page, name, made) == page, f"{name}: run python -m bench.capacity"
    for line in capacity.fleets((1, 8)).splitlines():
        assert line in page
