"""Triggers: is this a moment to speak?

In       an admitted event, a watermark, or segments just changed; the person's features
Out      Moments: playbook, time, object, items, evidence, until when it is useful
Keeps    per playbook what its kind needs: watches, the last truth of an edge, partial sequences
Refuses  nothing
Time     event time; what depends on order or absence is decided by the watermark

One file a kind; `dispatch` knows which, `interests` which events can matter at all.
"""

from streams.choose.triggers.absence import moments_of
from streams.choose.triggers.date import unreadable
from streams.choose.triggers.dispatch import (
    merge,
    nameless,
    next_deadline_ms,
    on_event,
    on_watermark,
)
from streams.choose.triggers.interests import Features, interests, is_alert, listeners
from streams.choose.triggers.items import ItemChange, cared_for, on_item, who_missed
from streams.choose.triggers.moment import Moment, Person
from streams.choose.triggers.segment import Change, on_segments

__all__ = ["Change", "Features", "ItemChange", "Moment", "Person", "cared_for", "interests",
           "is_alert", "listeners", "merge", "moments_of", "nameless",
           "next_deadline_ms", "on_event", "on_item", "on_segments", "on_watermark", "unreadable",
           "who_missed"]
