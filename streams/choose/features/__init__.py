"""Features: what is known of a person, or of a segment, as of an event's own time.

In       one admitted event, the entity's row
Out      the row, changed; values on demand, each with its age
Keeps    cells of fixed layout: rings of tiles, times, numbers, small sets
Refuses  nothing: an event older than a ring's horizon changes what still covers it
Time     event time only. Cells are commutative: shuffled events end in the same bytes

    spec -> layout -> updating (an event into a row), reading (a value out of it)
"""
