"""The documented codes, by the statuses with which they come, and what they mean.

It is independent of the program's own table, so that the two check each other.
"""

# fmt: off
REFUSALS = {
    "cart": {
        404: "400013 400018 400019 2072 800015",
        400: "800002 800004 800009 800010 800011 800012 800013 800017 800021 800030 800070 800086 900126 "
             "900128 900129 900142 900169 900203 900206 900242 900275 900312 900313 900314 900315 900316 "
             "900317 900318 27006 27007 2071 800016 900154 900419",
        403: "800020 800028 2085 2091 2006 800066 800067 800068 800088 800089 900323",
        500: "800031 800083 800084 800087",  # permanent despite the 500
    },
    "partner": {
        403: "13605 2030 900123 900124 800039 900149 800023 900121 800069 800073 800074 800075 900416 20002",
        400: "800022 800024 800025 800026 800062",
        409: "900114",
    },
    "not_found": {404: "800008 1000 60003", 400: "900118"},
    "environment": {400: "800018 900116 900127", 403: "900322"},
    "rejected": {417: "800036", 400: "4018"},
}
"""Nothing is bought: by class and status."""
# fmt: on

FAILURES = {500: "800003 800005 900192"}
"""The service failed: a later call buys."""

_IN_PROGRESS = "800064 800060 900112 900113"
NOT_ADMITTED = {
    401: f"800001 900420 900421 {_IN_PROGRESS}",
    403: f"900308 900309 900329 900150 2032 {_IN_PROGRESS}",
    **dict.fromkeys((200, 400, 409, 500), _IN_PROGRESS),
}
"""Not now: a later call buys. The codes of a cart in progress mean it with any status."""

ORDERED = dict.fromkeys((200, 400, 401, 403, 409, 500), "800065")
"""The cart was bought before. It means it with any status."""
