"""The deliver stage as one function over a batch: recheck, binding, dispatch.

Messages of one person are settled one after the other (the cap counts what was sent before);
different persons at the same time, as many as the channel carries. Emissions leave in the order of
the input, each with its own origin, however the sends overtook each other.

At most once per decision as far as the row reaches: the decision is reserved in the row before the
channel sees it and settled after. What the changelog has not got yet when the process dies (one
flush interval) may go out again, with the same Message-ID or Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import contract
from streams.deliver import mime, webhook_body
from streams.deliver.binding import Bound, bind
from streams.deliver.dispatch import Circuit, Dispatched, Limits, Line, dispatch
from streams.deliver.emitting import Story, tell
from streams.deliver.links import Signer
from streams.deliver.ports import ChannelPort, Clock, Parcel, VaultPort
from streams.deliver.recheck import (
    Rules,
    Standing,
    agreed,
    recheck,
    tenant_now_ms,
    useful_until_wall_ms,
)
from streams.deliver.row import Row, Send
from streams.engine.records import Out, Record
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.kernel.errors import PlaybookError
from streams.kernel.outcomes import Refused
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import MESSAGES
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks


class LoopClock:
    """The wall clock as the batch was given it, carried on by the event loop's steady clock."""

    def __init__(self, now_ms: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_ms = now_ms - round(self._loop.time() * 1000)

    def now_ms(self) -> int:
        return self._start_ms + round(self._loop.time() * 1000)

    async def sleep_ms(self, span_ms: int) -> None:
        await asyncio.sleep(span_ms / 1000)


def rules_of(published: Mapping[str, Any]) -> Rules:
    """What a published playbook says about sending; one that nobody can read lets nothing out."""
    try:
        found = loading.from_record(published)
    except PlaybookError:
        return Rules(shadow=True)
    return Rules(found.cap_messages, found.cap_per_ms, shadow=found.mode == "shadow")


@dataclass(frozen=True, slots=True)
class DeliverParams:
    """What deliver needs to know of the settings.

    link_key      seals the tokens in links; the web process has the same
    public_url    base address of the web process, as it stands in messages
    mail_from     sender of e-mails
    attempts_max  tries of a message at a channel that says "later"
    in_flight     parcels on the way at once, per channel
    patience_ms   how long one batch waits for a channel that is down
    clock         makes the clock of a walk from the batch's wall time
    """

    link_key: bytes = field(repr=False)
    public_url: str
    mail_from: str
    attempts_max: int = 5
    in_flight: int = 16
    patience_ms: int = 300_000
    clock: Callable[[int], Clock] = LoopClock


class DeliverLogic:
    """StageLogic of `deliver`. `channels` by the name that messages carry: email, webhook."""

    name = "deliver"
    topics: tuple[str, ...] = (MESSAGES,)

    def __init__(self, side: SideInputs, vault: VaultPort, channels: Mapping[str, ChannelPort],
                 params: DeliverParams) -> None:
        self._side, self._vault, self._params = side, vault, params
        self._lines = {name: Line(port, Circuit(), asyncio.Semaphore(params.in_flight))
                       for name, port in channels.items()}
        self._rules: dict[tuple[str, str], tuple[int, Rules]] = {}
        self._active = ActivePlaybooks(loading.from_yaml)

    def make_slab(self) -> Slab:
        return Slab(topics=len(self.topics))

    async def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        clock = self._params.clock(out.now_ms)
        patience_ms = clock.now_ms() + self._params.patience_ms
        stories, people = self._read(state, batch)
        try:
            async with asyncio.TaskGroup() as group:
                for person in people.values():
                    group.create_task(self._settle_all(person, state, clock, patience_ms))
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from faults      # the engine knows single faults
        for story in stories:
            tell(story, out, mail_from=self._params.mail_from)

    def _read(self, state: PartitionState, batch: Sequence[Record],
              ) -> tuple[list[Story], dict[str, list[Story]]]:
        """The batch as stories, in order and by person; repeats of an upstream crash left out."""
        stories: list[Story] = []
        people: dict[str, list[Story]] = {}
        for record in batch:
            try:
                message = contract(MESSAGES).decode(record.value)
            except ValueError as fault:
                stories.append(Story(record, {}, fault=str(fault)))
                continue
            if state.seen.is_repeat(MESSAGES, message):
                continue
            story = Story(record, message)
            stories.append(story)
            people.setdefault(message["profile_id"], []).append(story)
        return stories, people

    async def _settle_all(self, person: list[Story], state: PartitionState, clock: Clock,
                          patience_ms: int) -> None:
        for story in person:
            await self._settle(story, state, clock, patience_ms)

    async def _settle(self, story: Story, state: PartitionState, clock: Clock,
                      patience_ms: int) -> None:
        """Bring one message to its end and into the row."""
        message, offset = story.message, story.record.offset
        key = message["profile_id"].encode()
        slot = state.slab.slot(key)
        row, decision_id = Row(state.slab.tails[slot]), message["decision_id"]
        known = row.find(decision_id)
        if known is not None and known.offset != offset:
            story.send = Send("skipped", offset, "already_sent")
        elif known is not None and known.state != "reserved":
            story.send = known                   # a replay: say again what was said
        elif known is None and state.slab.has_seen(slot, 0, offset):
            return                               # a replay of what the row has long forgotten
        else:
            story.send = await self._decide(story, row, state, slot, clock, patience_ms)
            row.put(decision_id, story.send)
        self._stamp(state, slot, story)

    async def _decide(self, story: Story, row: Row, state: PartitionState, slot: int,
                      clock: Clock, patience_ms: int) -> Send:
        message, wall_ms = story.message, clock.now_ms()
        by_wall = self._active.by_wall(self._side, message["tenant"])
        now_ms = tenant_now_ms(message, wall_ms=wall_ms, by_wall=by_wall)
        rules = self._rules_for(message)
        row.forget(now_ms=now_ms, cap_per_ms=rules.cap_per_ms)
        ready = self._prepare(message, row, rules, now_ms=now_ms, wall_ms=wall_ms)
        offset = story.record.offset
        if isinstance(ready, Refused):
            story.detail = ready.detail
            return Send("skipped", offset, ready.reason, 0, now_ms, wall_ms)
        row.put(message["decision_id"], Send("reserved", offset, "", 0, now_ms, wall_ms))
        self._stamp(state, slot, story)
        done = await dispatch(ready, self._lines[message["channel"]], clock, Limits(
            self._params.attempts_max, useful_until_wall_ms(message, by_wall=by_wall), patience_ms),
            lambda: agreed(message, self._side.consents.denied(message["profile_id"])))
        return self._settled(story, row, ready, done, tenant_now_ms(
            message, wall_ms=done.at_ms, by_wall=by_wall))

    def _stamp(self, state: PartitionState, slot: int, story: Story) -> None:
        """The row has this offset in it now."""
        if not state.slab.has_seen(slot, 0, story.record.offset):
            state.slab.stamp(slot, 0, story.record.offset)
        state.slab.dirty.add(story.message["profile_id"].encode())

    def _prepare(self, message: Mapping[str, Any], row: Row, rules: Rules, *, now_ms: int,
                 wall_ms: int) -> Parcel | Refused:
        """Recheck and binding: the parcel, or why there is none."""
        channel, profile_id = message["channel"], message["profile_id"]
        standing = Standing(self._side.consents.denied(profile_id),
                            sent_ms=row.sent_ms(but=message["decision_id"]))
        mark = row.suppressed(channel)
        if mark:
            address = self._vault.get(profile_id, "email") or ""
            standing = replace(standing, suppressed=self._mark(address) == mark)
        refused = recheck(message, rules, standing, now_ms=now_ms)
        if refused is not None:
            return refused
        if channel not in self._lines:
            return Refused("channel_off", "channel", f"no channel {channel} is configured")
        return self._pack(message, wall_ms)

    def _pack(self, message: Mapping[str, Any], wall_ms: int) -> Parcel | Refused:
        """The final bytes, with the name and address of this moment."""
        profile_id, decision_id = message["profile_id"], message["decision_id"]
        by_mail = message["channel"] == "email"
        address = self._vault.get(profile_id, "email") if by_mail else None
        if by_mail and address is None:
            return Refused("no_address", "email", "the vault has none")
        signer = Signer(self._params.public_url, self._params.link_key, message)
        bound = bind(message, signer, address=address,
                     first_name=self._vault.get(profile_id, "first_name"))
        if isinstance(bound, Refused):
            return bound
        return Parcel(decision_id, bound.address, self._write(message, bound, signer, wall_ms),
                      mime.message_id(decision_id, self._params.mail_from) if by_mail
                      else decision_id)

    def _write(self, message: Mapping[str, Any], bound: Bound, signer: Signer,
               wall_ms: int) -> bytes:
        if message["channel"] != "email":
            return webhook_body.write(message, bound, signer)
        return mime.write(bound, decision_id=message["decision_id"], variant=message["arm"],
                          sender=self._params.mail_from, locale=message["locale"],
                          date_ms=wall_ms)

    def _settled(self, story: Story, row: Row, parcel: Parcel, done: Dispatched,
                 now_ms: int) -> Send:
        """What a dispatch means for the row."""
        reply, message = done.reply, story.message
        story.detail = "" if reply is None else reply.detail
        if reply is not None and reply.address_bad:
            row.suppress(message["channel"], self._mark(parcel.address))
        return Send(done.state, story.record.offset, done.reason, done.attempts,
                    now_ms, done.at_ms,
                    confirmed=reply is not None and reply.confirmed,
                    bounced=reply is not None and reply.bounced)

    def _mark(self, address: str) -> str:
        """A keyed mark of an address: tells a new one from the one that bounced, says no more."""
        return hmac.digest(self._params.link_key, address.encode(), hashlib.sha256)[:8].hex()

    def _rules_for(self, message: Mapping[str, Any]) -> Rules:
        """The playbook's rules; the strict defaults for one that nobody published."""
        key = (message["tenant"], message["playbook"])
        published = self._side.playbooks.get(key)
        if published is None:
            return Rules()
        kept = self._rules.get(key)
        if kept is None or kept[0] != published["version"]:
            kept = self._rules[key] = (published["version"], rules_of(published))
        return kept[1]

    def recovered(self, state: PartitionState) -> None:
        """Nothing is derived from the rows."""

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None:
        """Nothing is due by time."""

    def before_checkpoint(self, state: PartitionState, out: Out) -> None:
        """Nothing goes out per interval."""
