"""Entities: rolling features of what events are about: items, categories, campaigns, properties.

    spec      what is declared, and the layout of its rows
    rows      the rows of one partition: bounded, evicted by a rule that only the log decides
    tally     a batch of events goes into them
    telling   the hottest are said on segments.rolled, for all workers to put together
    asking    what all partitions say of a thing, for a decision or an operator
"""
