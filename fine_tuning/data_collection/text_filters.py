"""The filters that judge single texts without a model, each in a module of its own.

They read replies: what a person writes is no reason to leave out the answer.
"""

from fine_tuning.data_collection.cut_offs import cut_off
from fine_tuning.data_collection.profanity import SWEAR_WORDS, may_swear, swear_word
from fine_tuning.data_collection.refusals import may_refuse, refusal
from fine_tuning.data_collection.stuck_replies import loop

__all__ = [
    "SWEAR_WORDS",
    "cut_off",
    "loop",
    "may_refuse",
    "may_swear",
    "refusal",
    "swear_word",
]
