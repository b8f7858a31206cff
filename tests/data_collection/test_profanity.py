"""Swear words that are used, and words that are quoted, talked about, or innocent."""

# ruff: noqa: RUF001 - texts in many scripts

from __future__ import annotations

import pytest

from benchmarks.filters import scores
from fine_tuning.data_collection.moderation import WordClassifier
from fine_tuning.data_collection.text_filters import may_swear, swear_word

USED = [
    "Well, shit!",
    "SHIT",
    "sh1t",
    "$hit",
    "s h i t",
    "f.u.c.k",
    "fuuuuck",
    "f**k",
    "fück",
    "**bitch**",
    "b!tch",
    "motherfucker",
    "what a f*cking mess",
    "\uff46\uff55\uff43\uff4b",
    "So eine verdammte Scheiße.",
    "Du Arschloch, fick dich.",
    "Putain, quelle merde.",
    "Va te faire foutre.",
    "Eres un gilipollas, joder.",
    "Vaffanculo, stronzo!",
    "Vai tomar no cu, porra!",
    "Godverdomme, wat een klootzak.",
    "Kurwa, ja pierdolę.",
    "Пошёл на хуй, блядь.",
    "Ты мудак.",
    "Siktir git lan.",
    "操你妈，傻逼。",
    "くたばれ、クソ野郎。",
    "씨발, 개새끼야.",
    "كس امك يا ابن الشرموطة",
    "तू चूतिया है",
    "madarchod, chup ho ja",
    "ไอ้เหี้ย",
]
INNOCENT = [
    "Scunthorpe and Penistone",
    "shiitake mushrooms",
    "the assassin passed the class",
    "kill the child process",
    "a proud gay man",
    "Dickens wrote it",
    "cockpit, cocktail",
    "document, circumstances, Essex, Sussex",
    "a * b * c ** 2",
    "int **argv; char *p",
    "**bold** and *thin*",
    "The word 'fuck' is of Germanic origin.",
    "The word fuck is vulgar.",
    "Det är slut på mjölk.",
    "Use a bastard file on the blade.",
    "The bitch had a litter of six puppies.",
    "`shit` is the name of the function",
    "Fucking, Austria, was renamed Fugging.",
    "妈妈的菜很好吃",
    "날씨발표를 보세요",
    "도시발전 계획",
    "질병신고 센터",
    "художник рисует хлеб",
    "учебный план",
    "не бойся, дебет и кредит",
    "Yemeği götürmek istiyorum",
    "Manco: マンコ・カパック",
    "ファックスを送る",
    "Kike Hernández hit a home run",
    "Niki Lauda won",
    "cono di luce con la crema",
    "El cono es grande",
    "download: डाउनलौड करें",
    "แกงกะหรี่อร่อย",
    "أخبرني نيك عن الزبيب",
    "con mucho gusto",
    "une bite of it",
    "Sie wohnt in der Fickstraße",
    "застрахуй машину",
    "хорошо, худой",
    "ребёнок ест",
]


@pytest.mark.parametrize("text", USED)
def test_a_swear_word_that_is_used_is_found(text: str) -> None:
    assert swear_word(text)
    assert may_swear(text)


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_swearing(text: str) -> None:
    assert swear_word(text) is None


def test_the_classifier_finds_each_of_many_languages() -> None:
    found = WordClassifier().classify(["Kites fly.", *USED, "风筝在飞。"])
    assert found[0] is None
    assert found[-1] is None
    assert all(found[1:-1])


def test_precision_and_recall_on_a_part_of_the_labelled_items() -> None:
    found, _ = scores("profanity", part=3)
    assert found["all"].precision >= 0.98
    assert found["all"].recall >= 0.95
