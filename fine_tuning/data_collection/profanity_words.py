"""Swear words by language, and what makes one of them innocent.

``STEMS`` with ``ENDINGS`` are English; ``WORDS`` are patterns of whole words, accents and all;
``ANYWHERE`` are patterns of scripts whose words need no spaces or take many prefixes.
"""

# ruff: noqa: E501, RUF001 - words in many scripts

from __future__ import annotations

import re

STEMS: tuple[str, ...] = (
    *("fuck", "shit", "cunt", "asshole", "arsehole", "bitch", "bastard", "wanker", "twat"),
    *("motherfuck", "bullshit", "dickhead", "cocksuck", "dumbass", "jackass", "blowjob", "handjob"),
    *("whore", "slut", "nigger", "nigga", "faggot", "kike", "wetback", "gook", "raghead"),
    *("shitface", "shithead", "dipshit", "horseshit", "clusterfuck", "fuckwit", "douchebag"),
)
ENDINGS: tuple[str, ...] = (
    *("", "s", "es", "ed", "er", "ers", "ing", "in", "y", "ty", "ter", "head", "heads", "face"),
)

WORDS: dict[str, tuple[str, ...]] = {
    "de": (
        "schei(?:ß|ss)(?:e|er|en|t|dreck|kerl|haufen)?", "(?:be|ver|an|zusammen)?ge?schissen", "beschissen\\w*", "arschl(?:o|ö)ch(?:er|ern)?", "wichser\\w*", "hurens(?:o|ö)hn\\w*",
        "fotzen?", "verfickt\\w*", "(?:ge)?fick(?:en|t)", "fick dich", "fick (?:ihn|sie|das|den|die)", "schlampen?", "huren?", "missgeburt(?:en)?", "arschficker\\w*", "drecks(?:au|säue|kerl)\\w*", "verpiss dich", "leck mich am arsch",
    ),
    "fr": (
        "putain", "putes?", "merdes?", "merdiques?", "connards?", "connasses?", "salopes?", "salauds?", "encul(?:é|er|és|ée|ées)", "nique (?:ta|sa|ton|la|tes|leur|vos)", "niquer", "va te faire foutre", "fils de pute", "bordel de merde", "foutre", "couilles?", "emmerd(?:e|er|es|ent|ant)", "gros con", "sale con", "pauvre con",
    ),
    "es": (
        "mierdas?", "putas?", "putos?", "coños?", "joder", "jod(?:ido|ida|idos|idas|ete|anse)", "gilipollas", "cabr(?:ón|ona|ones)", "hij[oa]s? de (?:la gran )?puta", "hijueputa", "pendej[oa]s?", "ching(?:a|ar|ada|ado|uen|ate|en) ?(?:tu madre|a tu madre)?", "chinga", "verga", "cojones", "follar(?:te|se)?", "me cago en \\w+", "culer[oa]s?", "malparid[oa]s?", "vete a la mierda",
    ),
    "it": (
        "cazz(?:o|i|ata|ate|one|oni)", "merd[ae]", "vaffanculo", "fanculo", "stronz[oaie]", "stronzat[ae]", "puttan[ae]", "troi[ae] di merda", "figli[oa]? di puttana", "coglion[ei]", "minchia", "incazzat[oaie]", "porc[oa] (?:dio|madonna|troia)", "bastard[oai]", "rottinculo", "fott(?:iti|ere|uto|uta|uti)", "zoccol[ae] di merda",
    ),
    "pt": (
        "caralhos?", "porra", "merdas?", "foda-se", "fod(?:er|eu|ido|ida|idos)", "putas?", "filh[oa]s? d[ae] puta", "cu de merda", "buceta", "cuzão", "arrombad[oa]s?", "vai tomar no cu", "vai se foder", "puta que pariu", "vai à merda",
    ),
    "nl": (
        "kut(?:wijf|zooi|weer|ding)?", "klootza(?:k|kken)", "godverdomme", "gvd", "hoeren?", "hoerenjong", "neuk(?:en|t|te)?", "geneukt", "tering(?:lijer|zooi|wijf)", "kanker(?:lijer|zooi|wijf|hoer)", "tyfus(?:lijer|zooi)", "rotzak", "slet(?:ten)?",
    ),
    "pl": (
        "kurw\\w*", "chuj\\w*", "huj", "pierdol\\w*", "(?:s|w|za|od|roz|prze|wy|o|na)pierdal\\w*", "(?:s|w|za|od|roz|prze|wy|o|na|u|po)?pierdol\\w*", "pierdal\\w*", "jeba[cćłn]\\w*", "(?:za|wy|po|od|prze|u|z|na|roz)jeb\\w*", "skurwysyn\\w*", "skurwiel\\w*", "pizd\\w*", "dziwk[aiąęo]\\w*", "gówn\\w*", "cip[aęy]", "suka",
    ),
    "tr": (
        "siktir\\w*", "sik(?:eyim|erim|ik|tim|iyim|er|icem|ecem)", "amına\\w*(?: koy\\w*)?", "amk", "orospu\\w*", "piç\\w*", "yarra[kğ]\\w*", "götünü", "götüne", "götveren\\w*", "götlek\\w*", "kahpe\\w*", "pezevenk\\w*", "ananı\\w* sik\\w*", "dalyarak",
    ),
    "sv": ("fitt(?:a|or|an)", "jävl(?:a|ar|igt) (?:idiot|fitta|svin|hora)\\w*", "knull(?:a|ar|ad)", "horunge"),
    "hi": (
        "m[ae]+da+rch+o+[dt]\\w*", "b(?:eh|ah)e?n ?ch+o+[dt]\\w*", "bhosd[ia]\\w*", "bhosadi\\w*", "ch(?:u|oo)tiy[ae]\\w*", "gaa?nd(?:u|oo)",
    ),
    "id": ("kontol", "memek", "ngentot\\w*", "anjing lo", "jancok", "bangsat"),
    "vi": ("địt\\w*", "đụ má", "đụ mẹ", "lồn", "cặc", "đéo", "vcl", "đĩ"),
}  # fmt: skip

TYPICAL: dict[str, str] = {
    "fr": r"\b(?:les?|la|des|une?|tu|je|j'|ce|c'est|cette|est|et|il|elle|on|vous|nous|va|de|du|quel|quelle|pas|ta|ton|sa|toi|espèce|ces?)\b",
    "es": r"\b(?:el|la|los|las|un|una|que|qué|eres|es|está|tu|de|del|y|no|me|te|se|por|pero|vete|esa?|eso|muy|al|son|ya|con|estos?|vaya|mi)\b",
    "it": r"\b(?:il|lo|la|un|una|che|di|sei|è|non|e|questo|questa|quello|ma|per|con|mi|ti|si|chi|cosa|le|i|gli|del|della|va|sono|tutto)\b",
    "pt": r"\b(?:o|a|os|as|um|uma|que|é|não|do|da|de|e|você|vai|seu|sua|tu|está|esse|essa|isso|para|com|mas|meu|no|na|este|esta)\b",
    "nl": r"\b(?:het|een|de|je|jij|ik|wat|dat|die|is|niet|van|en|met|op|wij|ze|zijn|deze|dit|voor|te)\b",
    "sv": r"\b(?:och|att|är|det|den|som|inte|jag|du|på|av|för|en|ett|din|ditt|vad)\b",
    "tr": r"\b(?:bir|bu|ve|ne|sen|ben|çok|da|de|lan|o|şu|için|gibi|mi|git|seni|senin|var|yok|artık|bana|sana)\b|[ığşçöü]",
    "pl": r"\b(?:to|jest|nie|w|na|co|się|ty|ten|ta|i|z|do|ci|jak|tak|za|po|ale|mi|jesteś|mnie|czy|już|tego|tym|o|że|idź|stary|się)\b",
    "de": r"\b(?:der|die|das|und|ist|du|ich|nicht|so|ein|eine|mit|was|wie|den|dem|dich|dir|er|sie|es|mir|auf|für|zu|doch|hier|war|halt|bist|aber|von|im)\b",
    "hi": r"\b(?:hai|tera|teri|tum|kya|nahi|saala?|sala|abe|mein|bhai|yeh?|woh?|tujhe|chal|bolo?)\b",
    "id": r"\b(?:yang|lo|lu|gue|kamu|ini|itu|dasar|tidak|di|dan|aku|sih|dong|kau|banget|saja|anak)\b",
}  # fmt: skip
"""Everyday words that show a language."""

AMBIGUOUS = re.compile(
    r"(?i)putes?|nique .*|foutre|put[ao]s?|vergas?|troi[ae].*|kut|hoeren?|slet(?:ten)?|neuk(?:en|t|te)?|"
    r"fick(?:en|t)?|huren?|amk|pi\u00e7|siker|cip[ay\u0119]|suka|huj|chuj|porra|joder|verga|fod(?:er|eu)|memek|bangsat|carajo"
)
"""Swear words that are something innocent elsewhere: they count beside words of their language."""

ANYWHERE: tuple[str, ...] = (
    # Russian and Ukrainian
    r"(?i)(?<![^\W\d_])(?:(?:на|по|о|от|за|вы|до|пере|при|у|раз|рас|под|с|ни|не|а)?ху(?:й|е[влстм]|ё|и(?!т)|я(?![а-я]*тк)|ю)\w*|(?:вы|за|до|по|про|у|на|разъ|объ|съ|отъ|подъ|долбо|пере|при|о|не)?[её]б(?!итд)(?: твою|а[нлтш]|у[чтл]|ё|и[стл]|ну|ло|[аи](?!\w)|ыр|ет)\w*|(?:[а-я]{0,4})?пизд\w*|бля(?:д\w*|ть|)(?![^\W\d_])|бляд\w*|мудак\w*|мудил\w*|гандон\w*|пид[оа]р\w*|залуп\w*|сучар\w*|шлюх\w*|уёб\w*|уеб(?:ок|ищ|ан)\w*|дроч(?:ить|ит|ер)\w*|сука,? (?:блять|бля|тупая|ты|какого))",
    # Chinese
    r"操你(?:妈|媽|大爷|全家|祖宗)|操(?:蛋|他妈)|肏|他妈的|他媽的|草泥马|傻[逼屄比Bb]|煞笔|狗娘养|婊子|鸡巴|雞巴|狗日的|王八蛋|滚你妈|日你妈|去你妈|屌你|贱人|臭婊|干你娘|幹你娘",
    # Japanese
    r"くそったれ|クソったれ|クソ(?:野郎|ガキ|ババア|ジジイ|が|女|アマ)|くそ(?:野郎|ガキ|が)|糞(?:野郎|ったれ)|くたばれ|ヤリマン|死ね(?:よ|や|！|!|$|。)|ぶっ殺す|ぶっ殺し|ちんぽ|チンポ|まんこ|マンコ(?!・?カパック)|売女|きちがい|キチガイ|ファック(?!ス)",
    # Korean
    r"(?<![가-힣])씨발|(?<![가-힣])씨바[ㄹ알]|(?<![가-힣])시발(?!점|역|택시|자|지|한|됨|되)|ㅅㅂ|ㅆㅂ|씹(?:새|할|년|놈)|개새끼|개색기|(?<![가-힣])개같은 (?:놈|년|새끼|소리)|(?<![가-힣])병신(?!년|일주|정변|처분)|ㅂㅅ|좆|(?<![가-힣])존나|지랄|엿먹어|느금마|미친(?:놈|년|새끼)",
    # Arabic
    r"(?<!\w)كس ?(?:ام|أم|اخت|أخت)\w*|(?<!\w)كسمك(?!\w)|شرموط\w*|(?<!\w)عاهر(?:ة|ات)|منيوك\w*|(?<!\w)[اأيت]نيك(?:ك|ه|ها|كم|مك|وا)?(?!\w)|(?<!\w)زب(?:ي|ك|ه)(?!\w)|طيز\w*|ابن (?:ال)?(?:شرموطة|قحبة|كلب|متناكة)|قحب\w*|متناك\w*|(?<!\w)خرا(?!\w)|يلعن (?:دين|أبو|ابو|شرف)\w*",
    # Hindi
    r"मादरचोद|बहन ?चोद|बहनचोद|भोसड़\w*|भोसडी\w*|चूतिय\w*|चुतिय\w*|रंडी|गांडू|गाण्डू|(?<![\u0900-\u097f])लौड़\w*|हरामज़ाद\w*|हरामजाद\w*|चोदू|साले कुत्ते|झाटू|भड़व\w*",
    # Thai
    r"เหี้ย|ไอ้สัตว์|ไอ้สัส|สัส(?!ดี)|ควย|เย็ด|มึงตาย|แม่ง(?!าน)|อีดอก|หีแม่|พ่อมึง|แม่มึง",
    # Hebrew, Persian
    r"(?<!\w)זונה|בן זונה|כוס ?אמק|שרמוטה|کسکش|جنده|مادرجنده|گاییدم|حرومزاده",
)  # fmt: skip

TALKED_ABOUT = (
    r"(?:\b(?:words?|terms?|slurs?|expletives?|swear(?:words?| words?)?|curse|insults?|expressions?|phrases?|verbs?|nouns?|spell(?:ed|ing)?|called|named|"
    r"titled|entitled|means?|meaning of|translat\w+ (?:as|to)|wort|wörter|begriff|ausdruck|schimpfwort|bedeutet|heißt|mot|mots|terme|insulte|gros mot|signifie|"
    r"palabra|palabras|término|insulto|significa|groser[ií]a|parola|parolaccia|termine|palavra|palavrão|woord|scheldwoord|betekent|słowo|słowa|wulgaryzm|"
    r"слово|слова|ругательство|мат|означает|kelime\w*|sözcü\w*|küfür|anlam\w*)\b|"
    r"(?:这个词|词语|单词|脏话|词|意思是|という(?:言葉|単語)|言葉|단어|욕설|라는 말|كلمة|كلمات|شتيمة|शब्द|गाली|คำว่า))[\s:,(*_=\-\u2013\u2014]*$"
)  # fmt: skip
"""What stands right before a word that is only mentioned."""

INNOCENT_AROUND: dict[str, str] = {
    "slut": r"\b(?:och|att|är|det|som|inte|jag|på|til|og|ikke|er|slut på|till slut|ett|en|i|ved|helt)\b|slutt?en",
    "bastard": r"\b(?:sword|file|cut|operator|operations?|toadflax|william the|wing|title|indigo|mahogany|teak|trumpet|cabbage|amber|culverin|saffron|son of king|out of wedlock|illegitimate|feudal|inherit|medieval|noble|duke|king|acacia|secretary hand|jon snow|inglourious|sugar)\b",
    "bitch": r"\b(?:pupp(?:y|ies)|litter|whelp\w*|breed(?:er|ing|s)?|kennel|in heat|in season|estrus|oestrus|stud|dogs? (?:and|or)|female dog|lactat\w*|spay\w*|canine|veterinar\w*|vet|terrier|retriever|spaniel|greyhound|hound|wol(?:f|ves)|foxes|otters?|dam)\b",
    "fucking": r"fucking,? (?:upper )?austria|fugging|village|upper austria|\bösterreich\b|dorf",
    "faggot": r"\b(?:bundle|sticks|firewood|twigs|brushwood|meatballs?|gravy|peas|pork|offal|butcher|wood|fascines?|wrought|black country)\b",
    "kike": r"\b(?:enrique|hernández|hernandez|footballer|player|señor|setién|don|pitcher|baseball|dodgers)\b",
    "gook": r"\bgobbledy",
    "cunt": r"\bchaucer|queynte|etymolog",
    "whore": r"\b(?:babylon|revelation|biblical|'tis pity|john ford)\b",
    "jackass": r"\b(?:penguins?|donkeys?|mules?|laughing|kookaburra|rabbits?|mtv|johnny knoxville|knoxville|stallion|mares?|hinny|jennet|horses?|breeding)\b",
    "twat": r"\bbrowning\b",
    "shit": r"\bshit ?(?:tzu|ake)",
    "hure": r"\bbabylon|apokalypse|johannes",
    "fick": r"\bfick(?:sche|'s|s) (?:gesetz|law)|diffusion|adolf|eugen",
    "suka": r"\b(?:szczeni|piesk|pies|rasa|hodowl|weteryn|sterylizac|miot|cieczk|psów|psem)\w*",
    "verga": r"\b(?:vela|barco|mástil|navío|mayor|botavara|giovanni|verista|náutic\w*|malavoglia)\b",
    "troia": r"\b(?:cavallo|guerra|omero|ettore|achille)\b",
    "bastardo": r"\b(?:nobile|duca|re|figlio illegittimo|cane|borgogna|orleans)\b",
    "pic": r"\bpiçar|kök|sürgün|dal|bitki|bahçe|fidan|asma|budama|çiçek",
    "putain": r"\brespectueuse|sartre",
    "merde": r"\bbonne merde|opéra|danseur",
    "kuk": r"\bsool|won|hapkido|korean",
    "kut": r"\b(?:al-?kut|irak|iraq|mesopot\w*|tigris|beleg|siege)\b",
    "porra": r"\b(?:antequera|churros?|desayuno|salmorejo)\b",
    "huj": r"\bhaj|hajj",
}  # fmt: skip
"""What around a word shows its innocent sense, by the beginning of the word without accents."""
