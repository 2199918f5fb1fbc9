"""The grammar's phrases: subjects and sentences by strategy and by what the person did.

Every line is honest without further facts, or stands in `LICENSED` under the fact that it needs.
Slots that a playbook does not have remove the lines that use them, so each list holds some lines
without item slots.
"""

from __future__ import annotations

from typing import Final

CONTEXT_SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "cart": ("Still in your cart: {item.title}", "Your cart at {shop} is waiting for you",
             "{item.title} is still in your cart", "You left something in your cart"),
    "viewed": ("You were looking at {item.title}", "{item.title}, the page you had open",
               "Back to what you were looking at"),
    "bought": ("Remember {item.title}?", "{item.title}, as you had it before",
               "About your last order with {shop}"),
    "other": ("A word about {item.title}", "A short note from {shop}", "{item.title} at {shop}"),
}

CONTEXT_LINES: Final[dict[str, tuple[str, ...]]] = {
    "cart": ("{item.title} is still in your cart, just as you left it.",
             "You put {item.title} in your cart and then went on with your day.",
             "Your cart with {item.title} is where you left it.",
             "We kept your cart as it was, with {item.title} in it.",
             "Your cart is still here, just as you left it.",
             "You left something in your cart, and it is where you put it."),
    "viewed": ("You had a look at {item.title}.",
               "Here is the way back to {item.title}, the page you had open.",
               "You were looking at {item.title} with us.",
               "Here is the way back to what you were looking at."),
    "bought": ("You ordered {item.title} from us before.",
               "{item.title} was in your order with us.",
               "You have had {item.title} from us, so you know it well.",
               "You have ordered with us before, and we are glad about it."),
    "other": ("This is a short note about {item.title}.",
              "We thought that {item.title} might be of use to you.",
              "We thought that a short note from us might be of use to you.",
              "This is a short note from all of us at {shop}."),
}

SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "reminder": ("A reminder about {item.title}", "A small reminder from {shop}"),
    "social_proof": ("You are in good company with {item.title}", "Others take their time too",
                     "Thinking about {item.title}? So do others"),
    "helpful": ("Can we help you with {item.title}?", "Questions about {item.title}?",
                "Can we help you decide?", "Here if you have a question"),
    "appreciation": ("Thank you from {shop}", "A word of thanks from {shop}",
                     "Thank you for being with us, {first_name}"),
    "replenish": ("Is it time for {item.title} again?", "Running through {item.title}?",
                  "Time to order again?", "{item.title}, when you need it again"),
    "comeback": ("It has been a while, {first_name}", "We would be glad to see you again",
                 "The door at {shop} is open"),
    "curiosity": ("Would {item.title} suit you?", "What would you use {item.title} for?",
                  "A question for you from {shop}"),
}

LINES: Final[dict[str, tuple[str, ...]]] = {
    "reminder": ("If you still want it, you can go on where you stopped.",
                 "If it is still on your mind, you can pick it up from here.",
                 "There is nothing to fill in again; you can simply go on.",
                 "This is only to remind you, in case it slipped your mind.",
                 "If you have decided against it, there is nothing you need to do."),
    "social_proof": ("Many people leave a thing for a while and then come back to it.",
                     "You are not alone in taking your time over a choice like this.",
                     "Plenty of people sleep on a choice like this, and that is a good habit.",
                     "Others who shop with us like to think it over as well.",
                     "It is common to want a little time before you decide."),
    "helpful": ("If you have a question about size, use or delivery, just write to us.",
                "If something is unclear, answer this message and a person will read it.",
                "If you are not sure that it is right for you, ask us and we will help.",
                "Tell us what you need it for, and we will say honestly if it fits.",
                "If anything kept you from going on, we would like to help with it."),
    "appreciation": ("Thank you for being a customer of ours; it means a lot to us.",
                     "We wanted to say thank you, and nothing else.",
                     "It is customers like you that we do this work for.",
                     "Thank you for the trust you have put in us.",
                     "We are glad to have you with us, and we wanted you to know it."),
    "replenish": ("If it is used up by now, you can order it again in a moment.",
                  "Going by your own rhythm, it may be time for the next order.",
                  "If you still have enough, there is nothing you need to do.",
                  "You know what you like, so the way to order it again is short.",
                  "When you need it again, here is the short way to it."),
    "comeback": ("We have not seen you for a while, and we would be glad to have you back.",
                 "A lot may have changed for you; we are still here for you.",
                 "If there is something we could have done better, please tell us.",
                 "Whenever you feel like it, have a look at what is here for you.",
                 "It has been a while, so we wanted to say hello."),
    "curiosity": ("Have you thought about where you would use it?",
                  "What would it have to do to be right for you?",
                  "Perhaps it is what you had in mind, and perhaps it is not: have a look.",
                  "Would it fit in with what you already have?",
                  "A closer look may answer the question."),
}

LICENSED: Final[dict[str, str]] = {
    "item.low_stock": "There are only a few left, so we wanted you to know.",
    "item.ends_soon": "It will soon be gone from our range, so we wanted you to know.",
    "item.free_shipping": "Shipping is free for this order.",
    "item.discounted": "It is cheaper now than it was before.",
    "item.bestseller": "It is a bestseller with us.",
    "item.new": "It has just arrived with us.",
}

OPENINGS: Final[tuple[str, ...]] = (
    "Hi {first_name},", "Hello {first_name},", "Dear {first_name},", "Good day, {first_name},")

OFFERS: Final[tuple[str, ...]] = (
    "{item.title} — {item.price}\n{item.url}", "{item.title}, {item.price}:\n{item.url}",
    "{item.title} for {item.price}:\n{item.url}", "{item.title}:\n{item.url}",
    "You find it here, for {item.price}:\n{item.url}", "You find it here:\n{item.url}",
    "Here is the way to it:\n{item.url}", "The price is {item.price}.")

CLOSINGS: Final[tuple[str, ...]] = (
    "Kind regards,\n{shop}", "With best wishes,\n{shop}", "See you,\n{shop}",
    "All of us at {shop}", "Take care,\n{shop}")

FOOTERS: Final[dict[str, str]] = {
    "en": "If you do not want these messages: {unsubscribe_url}",
    "de": "Keine Nachrichten mehr: {unsubscribe_url}",
    "fr": "Ne plus recevoir ces messages : {unsubscribe_url}",
    "es": "No recibir más mensajes: {unsubscribe_url}",
}
