"""Who serves which slot: every slot its own worker, and a sibling where that one is missing or silent."""

from collections.abc import Collection

from fastserve.supervisor.slot import Incarnation, Slot


def share(slots: Collection[Slot]) -> dict[Incarnation, frozenset[int]]:
    """The slots that each ready worker has to serve; every slot is among them if any worker is ready.

    A silent worker keeps its slot and gets exactly one sibling for it that is not silent, if there is one: queued
    connections must not wait for it. Who helps out goes on doing so (`Slot.guest`) as long as it can and is needed.
    """
    ready = [worker for slot in slots if (worker := slot.ready) is not None]
    fit = [worker for worker in ready if not worker.silent] or ready
    wanted = {worker: {worker.slot.number} for worker in ready}
    orphans = []
    for slot in slots:
        if slot.ready in fit:
            slot.guest = None
        elif slot.guest in fit:
            wanted[slot.guest].add(slot.number)
        else:
            orphans.append(slot)
    for slot in orphans:
        slot.guest = min(fit, key=lambda worker: (len(wanted[worker]), worker.slot.number), default=None)
        if slot.guest is not None:
            wanted[slot.guest].add(slot.number)
    return {worker: frozenset(numbers) for worker, numbers in wanted.items()}
