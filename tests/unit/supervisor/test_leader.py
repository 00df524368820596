"""Which worker leads: there is one as long as a worker is READY, and it changes only when it has to."""

from tests.unit.supervisor.test_fleet import World, running
from wsgid.ipc.messages import Lead, Message
from wsgid.records import replace
from wsgid.supervisor.leader import Leader
from wsgid.supervisor.slots import Slot, SlotState


class Told:
    """What the workers were told: who leads by that."""

    def __init__(self) -> None:
        self.orders: list[tuple[int, Message]] = []
        self.leader = Leader(lambda slot, message: self.orders.append((slot, message)))

    def turn(self, world: World) -> list[tuple[int, Message]]:
        before = len(self.orders)
        self.leader.turn(world.fleet.slots, world.now_s)
        return self.orders[before:]


def test_the_lowest_seat_leads_and_goes_on_as_long_as_it_is_ready() -> None:
    world, told = running(3), Told()
    assert told.turn(world) == [(0, Lead(True, 0.0))]
    world.plan(after_s=10)
    assert told.turn(world) == []


def test_a_worker_that_has_died_is_followed_at_once_and_its_successor_waits() -> None:
    world, told = running(3), Told()
    told.turn(world)
    world.fleet.gone(0, world.now_s)
    assert told.turn(world) == [(1, Lead(True, 0.0))]
    world.boot()
    assert told.turn(world) == []


def test_another_process_in_the_same_slot_is_another_worker() -> None:
    world, told = running(1), Told()
    told.turn(world)
    world.fleet.gone(0, world.now_s)
    assert told.turn(world) == []
    world.now_s += 2.5
    world.boot()
    assert told.turn(world) == [(0, Lead(True, 2.5))]


def test_a_worker_that_stalls_is_told_and_leads_no_more() -> None:
    world, told = running(2), Told()
    told.turn(world)
    world.fleet.slots[0] = replace(world.fleet.slots[0], state=SlotState.STALLED)
    assert told.turn(world) == [(0, Lead(False, 0.0)), (1, Lead(True, 0.0))]
    world.fleet.slots[0] = replace(world.fleet.slots[0], state=SlotState.READY)
    assert told.turn(world) == []


def test_a_draining_worker_knows_it_by_itself_and_the_newest_generation_leads() -> None:
    world, told = running(3), Told()
    told.turn(world)
    world.fleet.templates.request_reload()
    world.boot()
    [first] = [slot for slot in world.ready() if slot.generation == 1 and slot.seat == 0]
    assert told.turn(world) == [(first.number, Lead(True, 0.0))]


def test_workers_of_the_image_before_an_upgrade_are_told_that_nobody_leads() -> None:
    told = Told()
    told.leader.take_over([Slot(4, SlotState.READY, 1, 17), Slot(6, SlotState.READY, 1, 18)])
    assert told.orders == [(4, Lead(False, 0.0)), (6, Lead(False, 0.0))]
