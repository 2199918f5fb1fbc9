"""Absences: one partition's watches, as arrays beside the rows; see `absent` for what is compiled.

`watches` is the law; this is the same state for a million people. A row's nodes are written into
the changelog as `a` of its tail, in base64. What the arrays do not hold stands in `w` of the tail,
as that of any trigger:

    thaw      nodes -> dicts, where `watches` must take the event or decide
    freeze    dicts -> nodes, whenever all of a row's absences fit: so the same watches are always
              kept, and written, in the same form
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.choose import absent
from streams.choose.absent import ANCHOR, CANCEL, CUT, MS, NEXT, NODES_MAX, Nodes, Waits
from streams.choose.absent_texts import held_bytes, pack, sizes_of
from streams.choose.kernel import Batch
from streams.choose.watches import ITEMS_MAX, Ripe, next_deadline_ms
from streams.engine.compiling import compiled
from streams.engine.hashing import signed_hash
from streams.engine.rows import Rows
from streams.playbooks.model import Playbook

TAIL = "a"                  # of the tail: the row's nodes
KIND = "absence"
_NODE = struct.Struct("<qqqBHHH")       # playbook, time, deadline, what, sizes of three texts
_NODE_BYTES, _WORDS = _NODE.size, 8
_UNNAMED = "#"              # before the hash of a playbook that is not in force any more


@dataclass(frozen=True, slots=True)
class Wait:
    """An absence trigger in force: `event`, and no `without` of the same `per` in `within_ms`."""

    tenant: str
    playbook: str
    event: str
    without: str
    per: str
    within_ms: int


def waits_of(tenant: str, playbooks: Iterable[Playbook]) -> list[Wait]:
    """The absences among `playbooks`."""
    triggers = ((p.name, p.trigger) for p in playbooks if p.trigger.kind == KIND)
    return [Wait(tenant, name, t.event, t.without, t.per, t.within_ms) for name, t in triggers]


def without(playbooks: Iterable[Playbook]) -> list[Playbook]:
    """The others: absences hear of their events in the kernel."""
    return [p for p in playbooks if p.trigger.kind != KIND]


def compile_waits(waits: Sequence[Wait], columns: Sequence[int],
                  per: Mapping[str, int]) -> Waits:
    """`columns`: those of the event's id, item and lines; `per`: those of objects, by name."""
    rows = [(signed_hash(wait.tenant), signed_hash(event), signed_hash(wait.playbook), anchors,
             per[wait.per] if wait.per else -1, wait.within_ms)
            for wait in waits for event, anchors in ((wait.event, 1), (wait.without, 0)) if event]
    return Waits(np.array(rows, np.int64).reshape(len(rows), 6), np.array(columns, np.int64))


@compiled
def _put(out, at, number):
    for i in range(8):
        out[at + i] = (number >> np.int64(8 * i)) & 0xFF


@compiled
def _number(raw, at):
    number = np.int64(0)
    for i in range(8):
        number |= np.int64(raw[at + i]) << np.int64(8 * i)
    return number


@compiled
def _dump_all(w, slots, out, ends):
    """Write the nodes of rows behind each other, and where each ends; returns the bytes that it
    takes, which may be more than there is room for."""
    end = 0
    for n in range(len(slots)):
        ends[n] = end = _dump(w, slots[n], out, end)
    return end


@compiled
def _dump(w, slot, out, end):
    """Write a row's nodes as `_NODE` and texts from `end` on; returns where they end."""
    node = w.heads[slot]
    while node >= 0:
        a, b, c = sizes_of(w.nodes[node, absent.SIZES])
        text, size = w.nodes[node, absent.TEXT], a + b + c
        if end + _NODE_BYTES + size <= len(out):
            _put(out, end, w.nodes[node, absent.PLAYBOOK])
            _put(out, end + 8, w.nodes[node, absent.MS])
            _put(out, end + 16, w.nodes[node, absent.DEADLINE])
            out[end + 24] = w.nodes[node, absent.WHAT]
            packed = w.nodes[node, absent.SIZES]
            for i in range(6):
                out[end + 25 + i] = (packed >> np.int64(8 * i)) & 0xFF
            for i in range(size):
                out[end + _NODE_BYTES + i] = w.texts[text + i]
        end += _NODE_BYTES + size
        node = w.nodes[node, NEXT]
    return end


@compiled
def _load(w, slot, raw):
    """Put the nodes that `_dump` wrote behind each other. There is room for them."""
    at, last = 0, -1
    while at < len(raw):
        node = absent.new(w, _number(raw, at), np.int64(raw[at + 24]), _number(raw, at + 8))
        w.nodes[node, absent.DEADLINE] = _number(raw, at + 16)
        packed = np.int64(0)
        for i in range(6):
            packed |= np.int64(raw[at + 25 + i]) << np.int64(8 * i)
        w.nodes[node, absent.SIZES] = packed
        a, b, c = sizes_of(packed)
        if b:
            w.nodes[node, absent.OBJECT] = np.int64(
                absent.hash64(raw, at + _NODE_BYTES + a, b))
        absent.say(w, raw, at + _NODE_BYTES, a + b + c)
        w.nodes[node, NEXT] = -1
        if last < 0:
            w.heads[slot] = node
        else:
            w.nodes[last, NEXT] = node
        last = node
        at += _NODE_BYTES + a + b + c


class Absences:
    """The watches of the people in `rows`. Their arrays grow only in `reserve`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._names: dict[int, str] = {}
        self._scratch = np.zeros(1 << 12, np.uint8)
        self.arrays = Nodes(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64),
                            np.zeros(0, np.int64), np.zeros((0, _WORDS), np.int64),
                            np.zeros(0, np.uint8), np.array([-1, 0, 0], np.int64))
        self.reserve(0, 0)
        rows.beside = self

    def reserve(self, nodes: int, text_bytes: int) -> Nodes:
        """Room for so many more nodes and texts, and for every row there is."""
        w, more = self.arrays, self._rows.index.capacity - len(self.arrays.heads)
        if more > 0:
            w = w._replace(heads=np.append(w.heads, np.full(more, -1, np.int32)),
                           aside=np.append(w.aside, np.zeros(more, np.uint8)),
                           woken=np.append(w.woken, np.zeros(more, np.int64)),
                           noted=np.append(w.noted, np.zeros(more, np.int64)))
        if w.meta[absent.LEFT] < nodes:
            w = _with_more_nodes(w, nodes)
        if w.meta[absent.USED] + text_bytes > len(w.texts):
            # Nothing is taken away when a node goes: so copy what is used, and leave as much again.
            texts = np.zeros(len(w.texts) + 2 * text_bytes + 1024, np.uint8)
            w.meta[absent.USED] = end = int(pack(w, texts))
            w = w._replace(texts=texts[:2 * (end + text_bytes) + 1024].copy())
        self.arrays = w
        return w

    def reserve_for(self, waits: Waits, batch: Batch) -> None:
        """Room for every event of a batch to begin or end everything that is waited for."""
        columns = [*waits.columns[:2], *np.unique(waits.table[:, absent.W_PER])]
        text_bytes = sum(int(batch.sizes[:, column].sum()) for column in columns if column >= 0)
        waiting = len(waits.table)
        self.reserve(2 * len(batch.sizes) * waiting, text_bytes * waiting)

    def in_force(self, playbooks: Iterable[str]) -> npt.NDArray[np.int64]:
        """Their hashes; from now on, their names are known."""
        hashes = {signed_hash(name): name for name in playbooks}
        self._names.update(hashes)
        return np.array(sorted(hashes), np.int64)

    def next_deadline_ms(self, slot: int) -> int | None:
        """See `watches.next_deadline_ms`; of what is in the arrays."""
        return int(absent.next_deadline(self.reserve(0, 0), slot)) or None

    def deadlines_of(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same for many rows; 0: none."""
        due_ms = np.zeros(len(slots), np.int64)
        _next_deadlines(self.reserve(0, 0), slots, due_ms)
        return due_ms

    def ripe(self, row: Sequence[int]) -> tuple[str, Ripe]:
        """(playbook, watch) of what `absent.settle` found ripe."""
        _, _, playbook, chain, since, has_items, at_ms, deadline_ms, text, sizes = row
        event_id, object_id = self._text(text, sizes, 0), self._text(text, sizes, 1)
        return self._names[playbook], Ripe(object_id, at_ms, deadline_ms, event_id,
                                           self._items(chain, since) if has_items else ())

    def _items(self, node: int, since: int) -> tuple[str, ...]:
        """Items of a chain's anchors after `since`, newest first."""
        found: list[str] = []
        while node >= 0:
            words = self.arrays.nodes[node].tolist()
            if words[MS] > since:
                found.append(self._text(words[absent.TEXT], words[absent.SIZES], 2))
            node = words[NEXT]
        return tuple(dict.fromkeys(filter(None, reversed(found))))[:ITEMS_MAX]

    def _text(self, at: int, sizes: int, which: int) -> str:
        """Of an anchor's texts the event's id, the object or the item."""
        own = sizes >> 16 * which & absent.TEXT_MAX
        if not own:
            return ""
        at += sum(sizes >> 16 * before & absent.TEXT_MAX for before in range(which))
        return self.arrays.texts[at:at + own].tobytes().decode()

    def told(self, slots: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
        """See `Beside`."""
        own = slots[self.reserve(0, 0).heads[slots] >= 0]
        return {slot: {TAIL: binascii.b2a_base64(raw, newline=False).decode()}
                for slot, raw in zip(own.tolist(), self._bytes(own), strict=True)}

    def _bytes(self, slots: npt.NDArray[np.int64]) -> list[bytes]:
        """The nodes of rows as `_NODE` and texts."""
        ends = np.zeros(len(slots), np.int64)
        size = _dump_all(self.arrays, slots, self._scratch, ends)
        if size > len(self._scratch):
            self._scratch = np.zeros(2 * size, np.uint8)
            _dump_all(self.arrays, slots, self._scratch, ends)
        raw = self._scratch[:size].tobytes()
        return [raw[begin:end] for begin, end in zip([0, *ends.tolist()], ends.tolist(),
                                                     strict=False)]

    def taken(self, slot: int, tail: dict[str, Any]) -> None:
        """See `Beside`."""
        w = self.arrays if slot < len(self.arrays.heads) else self.reserve(0, 0)
        if w.heads[slot] >= 0:
            absent.forget(w, slot)
        packed, kept = tail.pop(TAIL, ""), tail.get("w")
        if packed:
            self._take(slot, binascii.a2b_base64(packed))
        w.aside[slot] = w.noted[slot] = 0
        if kept:
            self.freeze(slot, kept)

    def _take(self, slot: int, raw: bytes) -> None:
        w = self.reserve(len(raw) // _NODE_BYTES, len(raw))
        _load(w, slot, np.frombuffer(raw, np.uint8))

    @property
    def memory_bytes(self) -> int:
        """See `Beside`."""
        return int(held_bytes(self.arrays))

    def forget(self, slots: npt.NDArray[np.int64]) -> None:
        """See `Beside`."""
        w = self.reserve(0, 0)
        for slot in slots[w.heads[slots] >= 0].tolist():
            absent.forget(w, slot)
        w.aside[slots] = w.woken[slots] = w.noted[slots] = 0

    def mark(self, slot: int, kept: Mapping[str, Any]) -> None:
        """Tell compiled code what of the row's triggers is in its tail."""
        is_held = any(own.get("k") == KIND for own in kept.values())
        is_more = any(own.get("k") != KIND for own in kept.values())
        self.reserve(0, 0).aside[slot] = (absent.ABSENCES * is_held) | (absent.OTHERS * is_more)

    def thaw(self, slot: int, kept: dict[str, Any], in_force: Collection[str]) -> None:
        """Move the row's watches into `kept`, for `watches`. What the tail holds for a playbook
        that is of another kind by now is newer than they are."""
        if slot >= len(self.arrays.heads) or self.arrays.heads[slot] < 0:
            return
        self._unpack(self._bytes(np.array([slot]))[0], kept, in_force)
        absent.forget(self.arrays, slot)

    def thaw_tail(self, tail: dict[str, Any], in_force: Collection[str]) -> None:
        """The same for a tail that came from elsewhere: what `told` added becomes part of `w`."""
        packed = tail.pop(TAIL, "")
        if packed:
            self._unpack(binascii.a2b_base64(packed), tail.setdefault("w", {}), in_force)

    def _unpack(self, raw: bytes, kept: dict[str, Any], in_force: Collection[str]) -> None:
        self.in_force(in_force)         # no watermark may have asked for these names yet
        for number, own in unpacked(raw).items():
            name = self._names.get(number, f"{_UNNAMED}{number}")
            if name not in kept or name in in_force:
                kept[name] = own

    def freeze(self, slot: int, kept: dict[str, Any]) -> None:
        """Take the row's watches out of `kept`, where they all fit, and mark the row."""
        held = {name: own for name, own in kept.items() if own.get("k") == KIND}
        nodes = _nodes_of(held)
        if nodes is not None:
            for name in held:
                del kept[name]
                if not name.startswith(_UNNAMED):
                    self._names[signed_hash(name)] = name
            if nodes:
                self._take(slot, b"".join(nodes))
        self.mark(slot, kept)


def deadlines_in(tails: Mapping[int, dict[str, Any]],
                 slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`Absences.deadlines_of` for rows whose tails were not read back."""
    due_ms = np.zeros(len(slots), np.int64)
    for n, slot in enumerate(slots.tolist()):
        packed = tails.get(slot, {}).get(TAIL, "")
        found = [next_deadline_ms(own) for own in unpacked(binascii.a2b_base64(packed)).values()]
        due_ms[n] = min((ms for ms in found if ms is not None), default=0)
    return due_ms


@compiled
def _next_deadlines(w, slots, due_ms):
    for k in range(len(slots)):
        due_ms[k] = absent.next_deadline(w, slots[k])


def _with_more_nodes(w: Nodes, nodes: int) -> Nodes:
    old, more = len(w.nodes), max(nodes, len(w.nodes) // 2, 64)
    grown = np.zeros((old + more, _WORDS), np.int64)
    grown[:old] = w.nodes
    grown[old:, NEXT] = np.arange(old + 1, old + more + 1)
    grown[-1, NEXT] = w.meta[absent.FREE]
    w.meta[absent.FREE] = old
    w.meta[absent.LEFT] += more
    return w._replace(nodes=grown)


def unpacked(raw: bytes) -> dict[int, dict[str, Any]]:
    """What `watches` keeps, by the playbook's hash, out of the bytes of nodes."""
    owns: dict[int, dict[str, Any]] = {}
    at = 0
    while at < len(raw):
        playbook, ms, deadline_ms, what, *sizes = _NODE.unpack_from(raw, at)
        at += _NODE_BYTES
        texts = []
        for size in sizes:
            texts.append(raw[at:at + size].decode())
            at += size
        own = owns.setdefault(playbook, {"k": KIND})
        if what == ANCHOR:
            own.setdefault("a", {}).setdefault(texts[1], []).append(
                [ms, deadline_ms, texts[0], texts[2:] if texts[2] else []])
        elif what == CANCEL:
            own.setdefault("x", {}).setdefault(texts[1], []).append(ms)
        else:
            own["c"] = ms
    return owns


def _nodes_of(held: Mapping[str, dict[str, Any]]) -> list[bytes] | None:
    """The nodes of a row, in their order; None when they do not fit."""
    nodes: list[tuple[tuple[int, int, int, int, bytes], bytes]] = []
    for name, own in held.items():
        if "r" in own:
            return None
        number = (int(name.removeprefix(_UNNAMED)) if name.startswith(_UNNAMED)
                  else signed_hash(name))
        for object_id, anchors in own.get("a", {}).items():
            for ms, deadline_ms, event_id, items in anchors:
                if len(items) > 1 or items == [""]:
                    return None
                nodes.append(_node(number, ANCHOR, object_id, ms, deadline_ms, event_id, *items))
        for object_id, times in own.get("x", {}).items():
            nodes += [_node(number, CANCEL, object_id, ms) for ms in times]
        if "c" in own:
            nodes.append(_node(number, CUT, "", own["c"]))
    if len(nodes) > NODES_MAX or any(not packed for _, packed in nodes):
        return None
    return [packed for _, packed in sorted(nodes, key=lambda node: node[0])]


def _node(number: int, what: int, object_id: str, ms: int, deadline_ms: int = 0,
          event_id: str = "", item: str = "") -> tuple[tuple[int, int, int, int, bytes], bytes]:
    """(what it is sorted by, its bytes; none when an id is too long)."""
    texts = [text.encode() for text in (event_id, object_id, item)]
    order = (number, what, signed_hash(object_id) if object_id else 0, ms, texts[0])
    if max(map(len, texts)) > absent.TEXT_MAX:
        return order, b""
    return order, _NODE.pack(number, ms, deadline_ms, what, *map(len, texts)) + b"".join(texts)
